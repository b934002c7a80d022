"""The summary of a build in the terminal: 80 columns are enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    unsettled_sentence,
)
from edgekit.report.wording import (
    bytes_text,
    change_text,
    drop_text,
    duration_text,
    latency_at,
    level_text,
    limit_text,
    ms_text,
    shorten,
    value_text,
)
from edgekit.result import CandidateResult, Result
from edgekit.types import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

__all__ = ["print_summary"]

LISTED = 12  # candidates; the rest is in the report
TOLD = 5  # rejections, failures and warnings each
FIGURES = "{p50:>6} {at:>6} {interval:>13} {accuracy:>8} {drop:>6} {size:>8}"
FIGURES_WIDTH = 52
COLOURS = {
    "MEETS": "bold green",
    "MISSES": "bold red",
    "INFEASIBLE": "bold red",
    "PROVISIONAL": "bold yellow",
}


def print_summary(result: Result, console: Console, folder: Path | None = None) -> None:
    """Print the verdict first, then why, the candidates, what went wrong, and what to do next.

    `folder` is where the build wrote its files; without it no paths are told.
    """
    from rich.text import Text

    width = max(60, min(console.width, 110))
    _line(console, Text.assemble((result.verdict, COLOURS[result.verdict]), "  ", (headline(result), "bold")))
    _wrapped(console, result.explanation)
    _line(console, Text(f"  budget: {budget_text(result)}", "dim"))
    console.print()
    _print_checks(result, console)
    for origin in ORIGINS:
        _print_candidates(result, origin, console, width)
    _print_trouble(result, console)
    _print_next(result, console, folder)


def budget_text(result: Result) -> str:
    """The budget in one line."""
    budget = result.budget
    parts = []
    if budget.max_latency_ms is not None:
        parts.append(f"{budget.percentile} latency ≤ {budget.max_latency_ms:g} ms")
    elif budget.fastest:
        parts.append(f"the fastest at {budget.percentile}")
    if budget.max_drop is not None:
        parts.append(f"drop ≤ {limit_text(budget.max_drop, metric_of(result))}")
    if budget.max_size_bytes is not None:
        parts.append(f"size ≤ {bytes_text(budget.max_size_bytes)}")
    if budget.max_memory_bytes is not None:
        parts.append(f"peak memory ≤ {bytes_text(budget.max_memory_bytes)}")
    return ", ".join(parts) or "none"


def _print_checks(result: Result, console: Console) -> None:
    from rich.text import Text

    rows = checks(result)
    if not rows:
        return
    name_width = max(len(check.name) for check in rows)
    got_width = max(len(check.got) for check in rows)
    for check in rows:
        mark = {"met": ("✓ ", "green"), "missed": ("✗ ", "red"), "": ("  ", "")}[check.state]
        kind = "between" if check.name == "latency, estimated" else "95 %:"
        detail = "; ".join(
            part for part in (check.interval and f"{kind} {check.interval}", check.asked) if part
        )
        text = f"{check.name:<{name_width}}  {check.got:>{got_width}}"
        _line(console, Text.assemble("  ", mark, text, (f"  {detail}" if detail else "", "dim")))
    for sentence in (gain_sentence(result), claim_caution(result), unsettled_sentence(result)):
        if sentence:
            _wrapped(console, sentence)
    _wrapped(console, _way(result), style="dim")
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
        _wrapped(console, f"Not ranked, {origin}: {ORIGINS[origin]}", style="bold")
    elif origin != "device":
        _wrapped(console, f"Origin {origin}: {ORIGINS[origin]}", style="bold")
    percentile = result.budget.percentile
    head = FIGURES.format(
        p50="p50 ms",
        at=percentile,
        interval="estimated" if origin == "estimated" else "95 % interval",
        accuracy=shorten(metric_of(result), 8),
        drop="drop",
        size="size",
    )
    name_width = width - FIGURES_WIDTH - 3
    _line(console, Text(f"  {'candidate':<{name_width}} {head}", "bold"))
    best = best_candidate(result)
    listed = _most_telling(candidates, best)
    for candidate in listed:
        style = "bold" if candidate is best else ""
        name = f"{shorten(candidate.id, name_width):<{name_width}}"
        _line(console, Text(f"  {name} {_figures(candidate)}", style))
        _wrapped(console, _why(candidate), indent=4, style="dim")
    if len(candidates) > len(listed):
        _line(console, Text(f"  and {len(candidates) - len(listed)} more in the report", "dim"))
    console.print()


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


def _figures(candidate: CandidateResult) -> str:
    latency, accuracy = candidate.latency_ms, candidate.accuracy
    return FIGURES.format(
        p50=ms_text(latency.p50) if latency else "–",
        at=ms_text(latency_at(latency)) if latency else "–",
        interval=f"{ms_text(latency.low)}–{ms_text(latency.high)}" if latency else "–",
        accuracy=value_text(accuracy) if accuracy else "–",
        drop=drop_text(accuracy) if accuracy else "–",
        size=bytes_text(candidate.size_bytes),
    )


def _why(candidate: CandidateResult) -> str:
    ran = candidate.ran_as
    parts = [f"ran as {ran}" if ran and ran != candidate.precision else "", candidate.why]
    return "; ".join(part for part in parts if part)


def _print_trouble(result: Result, console: Console) -> None:
    alike: dict[tuple[str, str], list[str]] = {}
    for rejection in result.rejected:
        alike.setdefault((rejection.reason, rejection.instead), []).append(rejection.what)
    rejected = [
        f"{', '.join(names)}: {reason}" + (f"; {instead}" if instead else "")
        for (reason, instead), names in alike.items()
    ]
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


def _print_next(result: Result, console: Console, folder: Path | None) -> None:
    took = duration_text(result.run.duration_s)
    if folder is None:
        _wrapped(console, f"took {took}", style="dim")
        return
    rows = [("report", str(folder / "report.html")), ("result", str(folder / "result.json"))]
    if result.winner or result.verdict == "PROVISIONAL":
        rows.insert(0, ("bundle", str(folder / "bundle")))
    if result.winner:
        rows.append(("next", f"edgekit bundle verify {folder / 'bundle'}"))
    elif result.verdict == "PROVISIONAL":
        rows.append(("next", f"copy {folder / 'bundle'} to the board; there: python3 bundle/settle.py"))
    else:
        rows.append(("next", "read the report, then change the budget or the recipe and build again"))
    rows.append(("took", took))
    for name, text in rows:
        # Paths and commands are for copying: never broken by us.
        console.print(f"  {name:<7} {text}", markup=False, highlight=False, soft_wrap=True)


def _line(console: Console, text: object) -> None:
    console.print(text, highlight=False)


def _wrapped(console: Console, text: str, indent: int = 2, style: str = "") -> None:
    from rich.padding import Padding
    from rich.text import Text

    if text:
        console.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False), highlight=False)
