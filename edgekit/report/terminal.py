"""The summary of a build in the terminal: the answers first, then the figures; 60 columns are enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.precisions import PRECISIONS
from edgekit.report.answers import answers
from edgekit.report.cautions import cautions
from edgekit.report.checks import WITHIN, checks
from edgekit.report.planning import planning_text
from edgekit.report.table import THROTTLED, UNSTEADY, candidate_lines
from edgekit.report.verdict import (
    ORIGINS,
    best_candidate,
    fastest_first,
    gain_sentence,
    headline,
    metric_of,
    ranked_origin,
)
from edgekit.report.wording import budget_text, change_text, duration_text, level_text, rejection_lines
from edgekit.result import CandidateResult, Result
from edgekit.types import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

__all__ = ["print_summary"]

LISTED = 12  # candidates; the rest is in the report
TOLD = 5  # rejections, failures and warnings each
LEAST_WIDTH, MOST_WIDTH = 40, 110
NAME_WIDTH = 10
MARKS = {"met": ("✓ ", "green"), "missed": ("✗ ", "red"), "open": ("? ", "yellow"), "": ("  ", "")}
COLOURS = {
    "MEETS": "bold green",
    "MISSES": "bold red",
    "INFEASIBLE": "bold red",
    "PROVISIONAL": "bold yellow",
}


def print_summary(result: Result, console: Console, folder: Path | None = None) -> None:
    """Print the verdict first, then what to ship, the checks, the candidates, and what went wrong.

    Why each candidate lost is in the report. `folder` is where the build wrote its files; without it the bundle is told
    by its name alone.
    """
    from rich.text import Text

    width = max(LEAST_WIDTH, min(console.width, MOST_WIDTH))
    bundle = "bundle" if folder is None else str(folder / "bundle")
    _wrapped(
        console,
        Text.assemble((result.verdict, COLOURS[result.verdict]), "  ", (headline(result), "bold")),
        indent=0,
    )
    _wrapped(console, f"budget: {budget_text(result.budget, metric_of(result))}", style="dim")
    console.print()
    for answer in answers(result, bundle):
        _named(console, answer.question, answer.text)
        for command in answer.commands:  # for copying: never broken by us
            console.print(
                f"{'':{NAME_WIDTH}}  {command}", style="bold", markup=False, highlight=False, soft_wrap=True
            )
    console.print()
    _print_checks(result, console)
    for origin in ORIGINS:
        _print_candidates(result, origin, console, width)
    _print_trouble(result, console)
    _print_files(result, console, folder)


def _print_checks(result: Result, console: Console) -> None:
    from rich.text import Text

    for check in checks(result):
        mark, colour = MARKS[check.state]
        said = "" if check.state == "met" and check.said == WITHIN else check.said  # the mark says it
        detail = "; ".join(part for part in (check.range, check.asked, said) if part)
        told = Text.assemble(
            (mark, colour), f"{check.name}: {check.got}", (f"  {detail}" if detail else "", "dim")
        )
        _wrapped(console, told, indent=4, lead=2)
    _wrapped(console, gain_sentence(result))
    for caution in cautions(result):
        _wrapped(console, caution, style="yellow")
    _wrapped(console, _way(result), style="dim")
    _wrapped(console, planning_text(result))
    console.print()


def _way(result: Result) -> str:
    """The accuracy waterfall in one sentence, with the layer that the worst step costs most at."""
    metric, steps = metric_of(result), result.waterfall
    if len(steps) < 2:
        return ""
    changes = ", ".join(f"{step.stage} {change_text(step.change, metric)}" for step in steps[1:])
    worst = min(steps, key=lambda step: step.change)
    blamed = (
        f"; {worst.stage} costs most at {worst.layers[0].layer}" if worst.change < 0 and worst.layers else ""
    )
    return f"{steps[0].stage} {level_text(steps[0].accuracy, metric)} (validation): {changes}{blamed}"


def _print_candidates(result: Result, origin: Origin, console: Console, width: int) -> None:
    from rich.text import Text

    candidates = fastest_first(result, origin)
    if not candidates:
        return
    if origin != ranked_origin(result):
        _wrapped(console, f"Not ranked: {ORIGINS[origin]}", style="bold")
    best = best_candidate(result)
    listed = _most_telling(candidates, best)
    head, lines = candidate_lines(listed, origin, result.budget.percentile, metric_of(result), width - 2)
    console.print(Text(f"  {head}", "bold"), highlight=False)
    for candidate, line in zip(listed, lines, strict=True):
        console.print(Text(f"  {line}", "bold" if candidate is best else ""), highlight=False)
    if len(candidates) > len(listed):
        _wrapped(console, f"and {len(candidates) - len(listed)} more in the report", style="dim")
    if any(candidate.latency_ms and not candidate.latency_ms.steady for candidate in listed):
        _wrapped(console, f"{UNSTEADY} the latency did not settle", style="yellow")
    if any(
        candidate.latency_ms
        and candidate.latency_ms.steadiness
        and candidate.latency_ms.steadiness.state == "throttled"
        for candidate in listed
    ):
        _wrapped(console, f"{THROTTLED} the board was throttled", style="yellow")
    _wrapped(console, _ran_otherwise(listed), style="dim")
    console.print()


def _ran_otherwise(candidates: Sequence[CandidateResult]) -> str:
    names = [
        f"{candidate.id} as {candidate.ran_as}"
        for candidate in candidates
        if candidate.precision in PRECISIONS
        and not PRECISIONS[candidate.precision].is_meant_by(candidate.ran_as)
    ]
    return f"ran in another precision than asked: {', '.join(names)}" if names else ""


def _most_telling(
    candidates: Sequence[CandidateResult], best: CandidateResult | None
) -> Sequence[CandidateResult]:
    """All, or of many the best and the frontier first; in the given order."""
    if len(candidates) <= LISTED:
        return candidates
    chosen = sorted(candidates, key=lambda candidate: (candidate is not best, not candidate.frontier))[
        :LISTED
    ]
    return [candidate for candidate in candidates if candidate in chosen]


def _print_trouble(result: Result, console: Console) -> None:
    rejected = rejection_lines(result.rejected)
    failed = [
        f"{item.candidate}, {item.stage}: {item.cause}" + (f"; {item.remedy}" if item.remedy else "")
        for item in result.failures
    ]
    for title, items in (("Rejected", rejected), ("Failed", failed), ("Warnings", list(result.warnings))):
        if not items:
            continue
        console.print(f"  {title}", style="bold", highlight=False)
        for item in items[:TOLD]:
            _wrapped(console, item, indent=4)
        if len(items) > TOLD:
            _wrapped(console, f"and {len(items) - TOLD} more in the report", indent=4, style="dim")
    if rejected or failed or result.warnings:
        console.print()


def _print_files(result: Result, console: Console, folder: Path | None) -> None:
    took = duration_text(result.run.duration_s)
    if folder is None:
        _wrapped(console, f"took {took}", style="dim")
        return
    rows = [("report", str(folder / "report.html")), ("result", str(folder / "result.json")), ("took", took)]
    for name, text in rows:  # paths are for copying: never broken by us
        console.print(f"  {name:<{NAME_WIDTH - 2}}  {text}", markup=False, highlight=False, soft_wrap=True)


def _named(console: Console, name: str, text: str) -> None:
    """`name` at the left, the text wrapped beside it."""
    from rich.text import Text

    _wrapped(console, Text.assemble((f"{name:<{NAME_WIDTH}}", "bold"), text), indent=NAME_WIDTH + 2, lead=2)


def _wrapped(
    console: Console, text: str | Text, indent: int = 2, style: str = "", lead: int | None = None
) -> None:
    """Lines that fit, each `indent` to the right, the first one `lead`. Nothing for an empty text."""
    from rich.text import Text

    told = Text(text, style) if isinstance(text, str) else text
    if not told:
        return
    hanging = indent - (indent if lead is None else lead)
    width = max(console.width, LEAST_WIDTH) - indent
    # The first line reaches further to the left: wrapped as if that part were not there.
    before, rest = told.divide([hanging])[:2] if hanging else (Text(""), told)
    lines = rest.wrap(console, width)
    for place, line in enumerate(lines):
        line.rstrip()
        start = Text(" " * (indent - hanging)).append_text(before) if place == 0 else Text(" " * indent)
        console.print(start.append_text(line), highlight=False, soft_wrap=True)
