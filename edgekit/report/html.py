"""`report.html`: one file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.files import write_atomically
from edgekit.report import wording
from edgekit.report.plots.all import all_plots
from edgekit.report.plots.figures import Numbered, runtime_colour
from edgekit.report.quantization import quantization_texts
from edgekit.report.verdict import (
    ORIGINS,
    best_candidate,
    checks,
    claim_caution,
    fastest_first,
    gain_sentence,
    headline,
    metric_of,
    ranked_origin,
    reference,
    unsettled_sentence,
)
from edgekit.result import CandidateResult, Result, check_own_file
from edgekit.types import Origin

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_html", "write_report"]

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Group:
    """The candidates of one origin: never in one table with another's."""

    origin: Origin
    meaning: str
    is_ranked: bool
    rows: tuple[Numbered, ...]


@dataclass(frozen=True)
class QuantizedRow:
    """An INT8 candidate and what was decided for it, by heading."""

    id: str
    texts: Mapping[str, str]


def render_html(result: Result) -> str:
    """The page as text. The same result gives the same text. Takes about 5 MB, nearly all of it plotly.js."""
    groups = _groups(result)
    plots = all_plots(result, groups[0].rows) if groups else {}
    best = best_candidate(result)
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            result=result,
            headline=headline(result),
            checks=checks(result),
            gain=gain_sentence(result),
            cautions=[text for text in (claim_caution(result), unsettled_sentence(result)) if text],
            best=best,
            reference=reference(result),
            metric=metric_of(result),
            groups=groups,
            quantized=_quantized(groups),
            conditions=_timed(groups),
            plots=plots,
            plotly=_plotly_js() if plots else "",
            colours={item.backend: runtime_colour(item.backend) for item in result.candidates},
            rounds=_rounds(best or next(iter(result.candidates), None)),
        )
    )


def write_report(result: Result, path: Path) -> Path:
    """Write the page to `path`, whole or not at all, and return it.

    Raises OutputError where that fails, or where something else than a page of edgekit lies there.
    """
    from edgekit.errors import OutputError

    check_own_file(path)
    page = render_html(result).encode("utf-8")
    try:
        write_atomically(path, page)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _groups(result: Result) -> list[Group]:
    """The ranked origin first; numbers run on through all groups."""
    main = ranked_origin(result)
    if main is None:
        return []
    groups = [Group(main, ORIGINS[main], True, _number(fastest_first(result, main), 1))]
    for origin, meaning in ORIGINS.items():
        others = fastest_first(result, origin)
        if others and origin != main:
            start = 1 + sum(len(group.rows) for group in groups)
            groups.append(Group(origin, meaning, False, _number(others, start)))
    return groups


def _number(candidates: tuple[CandidateResult, ...], start: int) -> tuple[Numbered, ...]:
    return tuple(Numbered(number, candidate) for number, candidate in enumerate(candidates, start))


def _quantized(groups: list[Group]) -> tuple[QuantizedRow, ...]:
    """INT8 candidates in the order of the tables."""
    return tuple(
        QuantizedRow(row.candidate.id, quantization_texts(row.candidate.quantization))
        for group in groups
        for row in group.rows
        if row.candidate.quantization is not None
    )


def _timed(groups: list[Group]) -> list[Numbered]:
    """The candidates whose timed runs are at hand."""
    rows = [row for group in groups for row in group.rows]
    return [row for row in rows if row.candidate.latency_ms and row.candidate.latency_ms.rounds_ms]


def _rounds(candidate: CandidateResult | None) -> tuple[int, int]:
    """Rounds, and all timed runs, of one candidate."""
    if candidate is None or candidate.latency_ms is None:
        return 0, 0
    rounds = candidate.latency_ms.rounds_ms
    return len(rounds), sum(len(samples) for samples in rounds)


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgekit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["text"] = wording
    return environment


def _plotly_js() -> str:
    """Plotly's script as its package ships it (there is no smaller bundle in it): trusted, so not escaped."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())
