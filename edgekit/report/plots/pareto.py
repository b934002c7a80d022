"""The latency–accuracy plot of the candidates of one origin."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.report.plots.budget_marks import mark_budget
from edgekit.report.plots.figures import (
    INK,
    MUTED,
    Margins,
    Numbered,
    Plot,
    candidate_text,
    error_ends,
    hover_text,
    marker,
    new_axes,
    precision_ran,
)
from edgekit.report.plots.labels import Box, Canvas, place_labels
from edgekit.report.plots.scales import Point, Scales, axis_label, points_of, scales_of, set_latency_axis
from edgekit.report.wording import metric_text, ms_text
from edgekit.types import Budget

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pareto_plot"]

HEIGHT = 480
LEGEND_ENTRY_PX, LEGEND_ROW_PX = 165, 19
LABEL_CHARACTER_PX, LABEL_HEIGHT_PX = 7.2, 14.0


def pareto_plot(numbered: Sequence[Numbered], budget: Budget, marks: Mapping[str, str]) -> Plot | None:
    """The plot, or None where no candidate has both a latency and an accuracy.

    `marks`: id → a word that stands beside it ("winner", "original"), the most important first; that one is ringed.
    """
    points = points_of(numbered)
    if not points:
        return None
    scales = scales_of(points, budget, marks)
    told = [
        f"{p.numbered.candidate.id} is the {marks[p.numbered.candidate.id]}."
        for p in points_in(points, marks)
    ]
    limit = (
        [f"The latency budget is {budget.max_latency_ms:g} ms."] if budget.max_latency_ms is not None else []
    )
    figures = [candidate_text(point.numbered) for point in points]
    return Plot(
        "pareto",
        f"Latency against accuracy of {len(points)} candidate{'s' if len(points) != 1 else ''}",
        " ".join([*told, *limit, *figures]),
        _caption(points, scales),
        lambda width: draw(width, points, scales, budget, marks),
        {f"c{point.numbered.number}": hover_text(point.numbered) for point in points},
    )


def points_in(points: Sequence[Point], marks: Mapping[str, str]) -> list[Point]:
    """The marked ones, the most important first."""
    order = {name: place for place, name in enumerate(marks)}
    known = [point for point in points if point.numbered.candidate.id in order]
    return sorted(known, key=lambda point: order[point.numbered.candidate.id])


def draw(
    width: int, points: Sequence[Point], scales: Scales, budget: Budget, marks: Mapping[str, str]
) -> Figure:
    """The figure at that width in pixels."""
    groups = {(p.numbered.candidate.backend, precision_ran(p.numbered.candidate)): p for p in points}
    line = frontier(points)
    columns = max(1, (width - 40) // LEGEND_ENTRY_PX)
    legend_rows = -(-(len(groups) + (len(line) > 1)) // columns)
    margins = Margins(62, 18, 40, 56 + LEGEND_ROW_PX * legend_rows)
    height = HEIGHT + LEGEND_ROW_PX * legend_rows
    figure, (axes,) = new_axes(width, height, margins)
    inner = (float(width - margins.left - margins.right), float(height - margins.top - margins.bottom))
    estimated = points[0].numbered.candidate.origin == "estimated"
    name = (
        "estimated latency, ms (not measured)" if estimated else f"latency {points[0].latency.percentile}, ms"
    )
    set_latency_axis(axes, scales.x, scales.log, inner[0], name)
    axes.set_ylim(*scales.y)
    axes.set_ylabel(
        axis_label(f"{metric_text(scales.metric)} ({points[0].accuracy.split})", scales.metric, "%")
    )
    mark_budget(axes, scales, budget, points[0].original)
    if len(line) > 1:
        xs, ys = [p.x for p in line], [p.accuracy.value * scales.unit for p in line]
        axes.plot(
            xs, ys, color=MUTED, linewidth=1.6, drawstyle="steps-post", zorder=2, label="Pareto frontier"
        )
    _draw_points(axes, points, scales, next(iter(marks), ""))
    ordered = [*points_in(points, marks), *(p for p in points if p.numbered.candidate.id not in marks)]
    shown = [point for point in ordered if scales.holds(point)]
    _draw_labels(axes, shown, marks, _canvas(shown, scales, budget, inner), scales)
    handles, labels = _legend(axes)
    figure.legend(
        handles, labels, loc="lower left", ncols=columns, frameon=False, fontsize=11, handletextpad=0.3,
        bbox_to_anchor=(0.02, 0.0), borderpad=0.2, columnspacing=1.2,
    )  # fmt: skip
    return figure


def frontier(points: Sequence[Point]) -> list[Point]:
    """Its members, fastest first."""
    return sorted((p for p in points if p.numbered.candidate.frontier), key=lambda point: point.x)


def _legend(axes: Axes) -> tuple[list[Artist], list[str]]:
    """Each name once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    return list(once.values()), list(once)


def _draw_points(axes: Axes, points: Sequence[Point], scales: Scales, ringed: str) -> None:
    """A mark per candidate with both intervals; backend and precision name it in the legend."""
    for point in sorted(
        points, key=lambda p: (p.numbered.candidate.backend, precision_ran(p.numbered.candidate))
    ):
        candidate, accuracy, unit = point.numbered.candidate, point.accuracy, scales.unit
        y = accuracy.value * unit
        low, high = (point.original - accuracy.drop_high) * unit, (point.original - accuracy.drop_low) * unit
        look = marker(candidate)
        axes.errorbar(
            point.x, y, fmt="none", ecolor=look["color"], elinewidth=1.3, capsize=2.5, zorder=3,
            xerr=error_ends(point.x, point.latency.low, point.latency.high), yerr=error_ends(y, low, high),
        )  # fmt: skip
        name = f"{candidate.backend} {precision_ran(candidate)}"
        axes.plot(
            [point.x], [y], linestyle="", markersize=9.5, zorder=4, label=name, gid=f"c{point.numbered.number}",
            **look,
        )  # fmt: skip
        if candidate.id == ringed:
            axes.plot(
                [point.x], [y], linestyle="", marker="o", markersize=19, markerfacecolor="none",
                markeredgecolor=INK, markeredgewidth=2, zorder=5, gid="ring",
            )  # fmt: skip


def _draw_labels(
    axes: Axes, points: Sequence[Point], marks: Mapping[str, str], canvas: Canvas, scales: Scales
) -> None:
    """Numbers, and words of the marked ones, where they cover nothing; a line leads to one that had to go far."""
    texts = [f"{p.numbered.number} {marks.get(p.numbered.candidate.id, '')}".strip() for p in points]
    sizes = [(LABEL_CHARACTER_PX * len(text) + 4, LABEL_HEIGHT_PX) for text in texts]
    shifts = place_labels(sizes, canvas)
    for point, text, size, shift in zip(points, texts, sizes, shifts, strict=True):
        if shift is None:
            continue
        far = max(abs(shift[0]) - size[0] / 2, abs(shift[1]) - size[1] / 2) >= 14
        axes.annotate(
            text,
            (point.x, point.accuracy.value * scales.unit),
            shift,
            textcoords="offset pixels",
            ha="center",
            va="center",
            size=11,
            color=INK,
            weight="bold" if point.numbered.candidate.id in marks else "normal",
            zorder=6,
            gid="label",
            arrowprops={"arrowstyle": "-", "linewidth": 0.7, "color": MUTED, "shrinkB": 6} if far else None,
        )


def _canvas(points: Sequence[Point], scales: Scales, budget: Budget, inner: tuple[float, float]) -> Canvas:
    """Points, error bars, the frontier and the budget's line in pixels of the inner plot."""
    ends: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for point in points:
        latency, accuracy = point.latency, point.accuracy
        ends.append(((latency.low, accuracy.value), (latency.high, accuracy.value)))
        low, high = point.original - accuracy.drop_high, point.original - accuracy.drop_low
        ends.append(((point.x, low), (point.x, high)))
    if budget.max_latency_ms is not None:
        bottom, top = scales.y[0] / scales.unit, scales.y[1] / scales.unit
        ends.append(((budget.max_latency_ms, bottom), (budget.max_latency_ms, top)))
    for point, other in itertools.pairwise(frontier(points)):
        corner = (other.x, point.accuracy.value)
        ends += [((point.x, point.accuracy.value), corner), (corner, (other.x, other.accuracy.value))]
    boxes = []
    for start, stop in ends:
        (x0, y0), (x1, y1) = scales.pixels(*start, inner), scales.pixels(*stop, inner)
        boxes.append(Box((x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0) / 2 + 2, abs(y1 - y0) / 2 + 2))
    frame = Box(inner[0] / 2, inner[1] / 2, inner[0] / 2, inner[1] / 2)
    pixels = tuple(scales.pixels(point.x, point.accuracy.value, inner) for point in points)
    return Canvas(frame, pixels, tuple(boxes))


def _caption(points: Sequence[Point], scales: Scales) -> str:
    estimated = points[0].numbered.candidate.origin == "estimated"
    across = (
        "the range of the estimate, which no measurement stands behind"
        if estimated
        else "95 % interval of the latency percentile"
    )
    parts = [
        "Up and to the left is better. Numbers are those of the table; the pointer on a mark tells its figures."
        f" Horizontal bars: {across}; vertical bars: 95 % interval of the paired drop from the original."
        " Shaded: within the latency and accuracy limits."
    ]
    if any(point.latency.high > scales.x[1] for point in points if scales.holds(point)):
        parts.append("A bar that reaches the edge goes on beyond it.")
    below = [point for point in points if point.accuracy.value * scales.unit < scales.y[0]]
    if below:
        numbers = ", ".join(str(point.numbered.number) for point in below)
        parts.append(f"Below the plotted range, so that the others stay apart: {numbers}.")
    beyond = [point for point in points if point.x > scales.x[1]]
    if beyond:
        told = ", ".join(f"{point.numbered.number} ({ms_text(point.x)} ms)" for point in beyond)
        parts.append(f"To the right of the plotted range, so that the others stay apart: {told}.")
    return " ".join(parts)
