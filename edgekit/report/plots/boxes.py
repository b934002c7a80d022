"""Latency distributions: a box per candidate, from its raw samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.report.plots.budget_marks import mark_limit
from edgekit.report.plots.figures import (
    INK,
    Numbered,
    Plot,
    draw_rows,
    error_ends,
    hover_text,
    new_axes,
    row_margins,
    runtime_colour,
)
from edgekit.report.plots.scales import interval_ceiling, log_scale, near, set_latency_axis, visible_ceiling
from edgekit.report.wording import latency_at, latency_sentence, ms_text
from edgekit.result import LatencyResult
from edgekit.types import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["latency_plot"]

CUTS = (0.01, 0.25, 0.5, 0.75, 0.99)


@dataclass(frozen=True)
class TimedRow:
    """One timed candidate; `cuts` are the quantiles at CUTS of all its runs, in ms (empty: none were kept)."""

    entry: Numbered
    latency: LatencyResult
    cuts: tuple[float, ...]

    @property
    def at(self) -> float:
        return latency_at(self.latency)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics (numpy's default); `ordered` is sorted and not empty."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def latency_plot(numbered: Sequence[Numbered], budget: Budget) -> Plot | None:
    """Boxes of the raw samples, with the budget's percentile and its interval; None where none was measured."""
    rows = [
        TimedRow(entry, entry.candidate.latency_ms, _cuts(entry.candidate.latency_ms))
        for entry in numbered
        if entry.candidate.origin != "estimated" and entry.candidate.latency_ms
    ]
    if not rows:
        return None
    percentile, span = rows[0].latency.percentile, _span(rows, budget)
    beyond = [
        f"{row.entry.number} (p99 {ms_text(row.cuts[-1])} ms)"
        for row in rows
        if row.cuts and row.cuts[-1] > span[1]
    ]
    caption = (
        "Boxes hold the middle half of all timed runs, the line is the median, whiskers reach from the 1st to"
        f" the 99th percentile; what lies beyond is in result.json. White marks: {percentile} with its 95 %"
        " interval."
    ) + (f" Going on beyond the right edge: {', '.join(beyond)}." if beyond else "")
    told = [f"{row.entry.number} {row.entry.candidate.id}: {_told(row)}." for row in rows]
    return Plot(
        "latencies",
        f"Distribution of the latency of {len(rows)} candidate{'s' if len(rows) != 1 else ''}",
        " ".join(told),
        caption,
        lambda width: draw(width, rows, span, budget),
        {f"c{row.entry.number}": hover_text(row.entry) for row in rows},
    )


def _cuts(latency: LatencyResult) -> tuple[float, ...]:
    samples = sorted(sample for samples in latency.rounds_ms for sample in samples)
    return tuple(quantile(samples, share) for share in CUTS) if samples else ()


def _told(row: TimedRow) -> str:
    text = latency_sentence(row.latency, row.entry.candidate.origin)
    if not row.cuts:
        return text
    low, *_, high = (ms_text(cut) for cut in row.cuts)
    return f"{text}; median {ms_text(row.cuts[2])} ms, 98 % of the runs between {low} and {high} ms"


def _span(rows: Sequence[TimedRow], budget: Budget) -> tuple[float, float]:
    """What is plotted, in ms: the percentiles and boxes that lie together, whiskers as far as twice that."""
    top = visible_ceiling([row.at for row in rows], [row.cuts[2] for row in rows if row.cuts])
    ends = [end for row in rows for end in (row.at, row.latency.low, row.latency.high, *row.cuts)]
    within = near(budget.max_latency_ms, ends)
    ends += [within] if within is not None else []
    most = interval_ceiling(top, [row.latency.high for row in rows])
    high = max(min(end, most) for end in ends)
    return (
        (min(ends) / 1.15, high * 1.15) if log_scale([*(row.at for row in rows), top]) else (0.0, high * 1.06)
    )


def draw(width: int, rows: Sequence[TimedRow], span: tuple[float, float], budget: Budget) -> Figure:
    """The figure at that width in pixels."""
    margins, row_px = row_margins(width)
    figure, (axes,) = new_axes(width, margins.top + margins.bottom + row_px * len(rows), margins)
    inner = width - margins.left - margins.right
    set_latency_axis(axes, span, span[0] > 0, inner, "latency of one inference, ms")
    draw_rows(axes, [row.entry for row in rows], width)
    if budget.max_latency_ms is not None:
        mark_limit(axes, budget.max_latency_ms, f"budget {budget.max_latency_ms:g} ms")
    for place, row in enumerate(rows):
        _draw_box(axes, place, row)
        axes.errorbar(
            [row.at], [place], xerr=error_ends(row.at, row.latency.low, row.latency.high), fmt="none",
            ecolor=INK, elinewidth=1.3, capsize=3, zorder=4,
        )  # fmt: skip
        axes.plot(
            [row.at], [place], marker="D", markersize=7, color="white", markeredgecolor=INK, zorder=5,
            gid=f"c{row.entry.number}",
        )  # fmt: skip
        if row.cuts and row.cuts[-1] > span[1]:
            axes.plot([1.0], [place], marker=">", markersize=6, color=INK, clip_on=False,
                      transform=axes.get_yaxis_transform(), gid="beyond")  # fmt: skip
    return figure


def _draw_box(axes: Axes, place: int, row: TimedRow) -> None:
    if not row.cuts:
        return
    colour = runtime_colour(row.entry.candidate.backend)
    names = ("whislo", "q1", "med", "q3", "whishi")
    line = {"color": colour, "linewidth": 1.5}
    axes.bxp(
        [dict(zip(names, row.cuts, strict=True))],
        positions=[place],
        widths=0.5,
        orientation="horizontal",
        showfliers=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": f"{colour}40", "edgecolor": colour, "linewidth": 1.5},
        medianprops=line,
        whiskerprops=line,
        capprops=line,
    )
