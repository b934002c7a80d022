"""`report.html`: one file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.files import check_own_file, write_atomically
from edgekit.precisions import PRECISIONS
from edgekit.report import wording
from edgekit.report.answers import answers
from edgekit.report.cautions import cautions
from edgekit.report.checks import checks
from edgekit.report.drawings import KeepDrawings, drawn_now
from edgekit.report.planning import planning_section
from edgekit.report.plots.all import all_plots
from edgekit.report.plots.figures import NARROW, WIDE, Numbered, Plot, runtime_colour
from edgekit.report.plots.svg import inline_svg
from edgekit.report.quantization import quantization_texts
from edgekit.report.verdict import (
    ORIGINS,
    best_candidate,
    best_word,
    fastest_first,
    gain_sentence,
    headline,
    metric_of,
    ranked_origin,
    reference,
)
from edgekit.result import NOTED_HERE, CandidateResult, Result
from edgekit.types import Origin

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["page_environment", "render_html", "write_report"]

TEMPLATE = "report.html.j2"
MOST_ROWS = 200
"""Rows of each table: the page stays below 2 MB. result.json has them all."""


@dataclass(frozen=True)
class Group:
    """The candidates of one origin: never in one table with another's."""

    origin: Origin
    meaning: str
    is_ranked: bool
    rows: tuple[Numbered, ...]

    @property
    def is_noted_here(self) -> bool:
        """Whether notes are of this machine while the latency is a board's: the page says so once."""
        return any(note.startswith(NOTED_HERE) for row in self.rows for note in row.candidate.notes)


@dataclass(frozen=True)
class DrawnPlot:
    """A plot as two elements `<svg>`, of which the page shows the one that fits. `svg` is not escaped again."""

    caption: str
    svg: str


@dataclass(frozen=True)
class QuantizedRow:
    """An INT8 candidate and what was decided for it, by heading."""

    id: str
    texts: Mapping[str, str]


def render_html(result: Result, keep: KeepDrawings = drawn_now) -> str:
    """The page as text. The same result gives the same text. Below 2 MB, however much was measured.

    `keep`: where drawings are kept from page to page.
    """
    from markupsafe import Markup

    groups = _groups(result)
    plots = all_plots(result, groups[0].rows if groups else ())
    drawings = keep(result, lambda: {name: _drawn(plot) for name, plot in plots.items()})
    listed = [_first(group) for group in groups]
    best = best_candidate(result)
    return (
        page_environment()
        .get_template(TEMPLATE)
        .render(
            result=result,
            headline=headline(result),
            answers=answers(result, "bundle"),
            checks=checks(result),
            gain=gain_sentence(result),
            cautions=cautions(result),
            best=best,
            best_word=best_word(result),
            reference=reference(result),
            metric=wording.metric_text(metric_of(result)),
            groups=listed,
            unlisted=len(result.candidates) - sum(len(group.rows) for group in listed),
            quantized=_quantized(listed),
            planning=planning_section(result),
            conditions=_timed(listed),
            plots={name: DrawnPlot(plot.caption, Markup(drawings[name])) for name, plot in plots.items()},
            precisions=PRECISIONS,
            colours={item.backend: runtime_colour(item.backend) for item in result.candidates},
            rounds=_rounds(best or next(iter(result.candidates), None)),
            most=MOST_ROWS,
            noted_here=NOTED_HERE,
        )
    )


def write_report(result: Result, path: Path, keep: KeepDrawings = drawn_now) -> Path:
    """Write the page to `path`, whole or not at all, and return it. `keep`: see render_html.

    Raises OutputError where that fails, or where something else than a page of edgekit lies there.
    """
    from edgekit.errors import OutputError

    check_own_file(path)
    page = render_html(result, keep).encode("utf-8")
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


def _first(group: Group) -> Group:
    """The group with as many rows as a table has: the fastest."""
    return replace(group, rows=group.rows[:MOST_ROWS])


def _drawn(plot: Plot) -> str:
    return inline_svg(plot, WIDE, "wide") + inline_svg(plot, NARROW, "narrow")


def _number(candidates: tuple[CandidateResult, ...], start: int) -> tuple[Numbered, ...]:
    return tuple(Numbered(number, candidate) for number, candidate in enumerate(candidates, start))


def _quantized(groups: list[Group]) -> tuple[QuantizedRow, ...]:
    """INT8 candidates in the order of the tables, all with the headings that any of them has."""
    texts = {
        row.candidate.id: quantization_texts(row.candidate.quantization)
        for group in groups
        for row in group.rows
        if row.candidate.quantization is not None
    }
    headings = dict.fromkeys(heading for row in texts.values() for heading in row)
    return tuple(
        QuantizedRow(name, {heading: row.get(heading, "no") for heading in headings})
        for name, row in texts.items()
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


def page_environment(*packages: str) -> Environment:
    """Where pages come from: the templates of `packages`, then the report's own, whose style sheet all share."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "edgekit.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["text"] = wording
    return environment
