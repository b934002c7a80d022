"""Accuracies and paired drops with their intervals: a row per candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report.plots.budget_marks import mark_limit
from edgekit.report.plots.figures import (
    INK,
    MUTED,
    Numbered,
    Plot,
    draw_rows,
    error_ends,
    hover_text,
    marker,
    new_axes,
    row_margins,
)
from edgekit.report.plots.scales import axis_label, set_linear_ticks, unit_of, visible_floor
from edgekit.report.wording import accuracy_sentence, limit_text, metric_text
from edgekit.result import AccuracyResult
from edgekit.types import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["accuracy_plot"]

Row = tuple[Numbered, AccuracyResult]
Span = tuple[float, float]


def accuracy_plot(
    numbered: Sequence[Numbered], budget: Budget, winner: str | None, claim: AccuracyResult | None
) -> Plot | None:
    """Left the accuracies, right the paired drops; `claim` is the winner's on test. None without any."""
    rows: list[Row] = [(entry, entry.candidate.accuracy) for entry in numbered if entry.candidate.accuracy]
    if not rows:
        return None
    spans = _spans(rows, budget, claim)
    below = [entry.number for entry, accuracy in rows if accuracy.value < spans[0][0]]
    told = [
        f"{entry.number} {entry.candidate.id}: {accuracy_sentence(accuracy)}." for entry, accuracy in rows
    ]
    claims = [f"The claim, on the {claim.split} split: {accuracy_sentence(claim)}."] if claim else []
    return Plot(
        "accuracies",
        f"Accuracy and drop of {len(rows)} candidate{'s' if len(rows) != 1 else ''}",
        " ".join([*claims, *told]),
        _caption(rows[0][1], claim, below),
        lambda width: draw(width, rows, spans, budget, winner, claim),
        {f"c{entry.number}": hover_text(entry) for entry, _ in rows},
    )


def _spans(rows: Sequence[Row], budget: Budget, claim: AccuracyResult | None) -> tuple[Span, Span]:
    """What the two panels show, as fractions."""
    accuracies = [accuracy for _, accuracy in rows]
    floor = visible_floor(accuracies, budget.max_drop)
    shown = [accuracy for accuracy in accuracies if accuracy.value >= floor] + ([claim] if claim else [])
    low, high = min(a.low for a in shown), max(a.high for a in shown)
    drop_low = min(0.0, *(a.drop_low for a in shown))
    drop_high = max(0.001, *(a.drop_high for a in shown))
    if budget.max_drop is not None and budget.max_drop <= 3 * (drop_high - drop_low) + 0.01:
        drop_high = max(drop_high, 1.25 * budget.max_drop)
    pad, drop_pad = 0.06 * (high - low) or 0.01, 0.06 * (drop_high - drop_low)
    return (low - pad, high + pad), (drop_low - drop_pad, drop_high + drop_pad)


def draw(
    width: int,
    rows: Sequence[Row],
    spans: tuple[Span, Span],
    budget: Budget,
    winner: str | None,
    claim: AccuracyResult | None,
) -> Figure:
    """The figure at that width in pixels."""
    margins, row_px = row_margins(width)
    figure, panels = new_axes(width, margins.top + margins.bottom + row_px * len(rows), margins, panels=2)
    metric, unit = rows[0][1].metric, unit_of(rows[0][1].metric)
    inner = (width - margins.left - margins.right) / 2
    for place, (axes, span) in enumerate(zip(panels, spans, strict=True)):
        draw_rows(axes, [entry for entry, _ in rows], width, named=place == 0)
        axes.set_xlim(span[0] * unit, span[1] * unit)
        set_linear_ticks(axes, inner)
    panels[0].set_xlabel(axis_label(metric_text(metric), metric, "%"))
    panels[1].set_xlabel(axis_label("drop", metric, "points"))
    panels[1].axvline(0.0, color=MUTED, linewidth=1, zorder=1)
    if budget.max_drop is not None:
        mark_limit(panels[1], budget.max_drop * unit, limit_text(budget.max_drop, metric))
    for place, (entry, accuracy) in enumerate(rows):
        _draw_dots(panels, place, entry, accuracy, unit)
        if claim and entry.candidate.id == winner:
            _draw_claim(panels, place, claim, unit)
    return figure


def _figures(accuracy: AccuracyResult, unit: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Value, low, high of the accuracy and of the drop, in drawn units."""
    value = (accuracy.value, accuracy.low, accuracy.high)
    drop = (accuracy.drop, accuracy.drop_low, accuracy.drop_high)
    return tuple(unit * x for x in value), tuple(unit * x for x in drop)


def _draw_dots(
    panels: Sequence[Axes], place: int, entry: Numbered, accuracy: AccuracyResult, unit: float
) -> None:
    look = marker(entry.candidate)
    for side, (axes, (value, low, high)) in enumerate(zip(panels, _figures(accuracy, unit), strict=True)):
        axes.errorbar(
            [value], [place], xerr=error_ends(value, low, high), fmt="none", ecolor=MUTED, elinewidth=1.3,
            capsize=3, zorder=3,
        )  # fmt: skip
        axes.plot([value], [place], markersize=9, zorder=4, gid=f"c{entry.number}.{side}", **look)


def _draw_claim(panels: Sequence[Axes], place: int, claim: AccuracyResult, unit: float) -> None:
    for axes, (value, low, high) in zip(panels, _figures(claim, unit), strict=True):
        axes.errorbar(
            [value], [place], xerr=error_ends(value, low, high), fmt="none", ecolor=INK, elinewidth=1.3,
            capsize=3, zorder=5,
        )  # fmt: skip
        axes.plot(
            [value],
            [place],
            marker="*",
            markersize=11,
            color="white",
            markeredgecolor=INK,
            zorder=6,
            gid="claim",
        )


def _caption(accuracy: AccuracyResult, claim: AccuracyResult | None, below: Sequence[int]) -> str:
    parts = [
        f"On the {accuracy.split} split ({accuracy.samples:,} samples), with 95 % intervals."
        " The drop is paired: the same samples through the original, so its interval is the narrower one."
        " Right of zero is worse."
    ]
    if claim:
        parts.append(
            f"Star: the winner on the {claim.split} split ({claim.samples:,} samples), measured once."
        )
    if below:
        parts.append(f"Outside the plotted range: {', '.join(str(number) for number in below)}.")
    return " ".join(parts)
