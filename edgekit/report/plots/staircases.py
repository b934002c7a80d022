"""How the times of single layers hang on their widths: a small plot for each of the slowest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.errors import shortened
from edgekit.report.plots.figures import (
    EDGE,
    INK,
    MUTED,
    WIDE,
    Margins,
    Plot,
    error_ends,
    grid_axes,
    runtime_colour,
)
from edgekit.report.plots.scales import interval_ceiling, spaced_ticks
from edgekit.report.wording import ms_text
from edgekit.types import LayerStaircase, PlanningResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["staircases_plot"]

DRAWN = 6
MOST_POINTS = 32
"""Of a layer: dots keep apart, and the page stays below 2 MB."""
PANEL_PX = 126
GAPS_PX = (62, 50)
CHARACTER_PX = 7.8
"""Of a layer's name above its plot, at most."""

Point = tuple[int, float, float, float]
"""Channels, and a time with the ends of its interval, in drawn units."""


def staircases_plot(planning: PlanningResult | None) -> Plot | None:
    """Time over output channels, a plot for each layer; None where the table has no layer at several widths."""
    layers = [layer for layer in planning.staircases if layer.points] if planning else []
    if planning is None or not layers:
        return None
    drawn = layers[:DRAWN]
    unit, scale = unit_of(drawn)
    points = [points_of(layer, scale) for layer in drawn]
    return Plot(
        "staircases-plot",
        f"Time of {len(drawn)} layer{'s' if len(drawn) != 1 else ''} by output channels",
        " ".join(_told(layer, row, unit) for layer, row in zip(drawn, points, strict=True)),
        _caption(planning, layers),
        lambda width: draw(width, drawn, points, unit, runtime_colour(planning.runtime)),
        {
            f"layer{place}w{row[0]}": f"{shortened(layer.layer, 60)}\n{_figures(row, unit)}"
            for place, layer in enumerate(drawn)
            for row in points[place]
        },
    )


def unit_of(layers: Sequence[LayerStaircase]) -> tuple[str, float]:
    """The unit that all plots have, and how many of it a millisecond is."""
    slowest_ms = max(point[1] for layer in layers for point in layer.points)
    return ("ms", 1.0) if slowest_ms >= 1.0 else ("µs", 1000.0)


def points_of(layer: LayerStaircase, scale: float) -> tuple[Point, ...]:
    """All, or of many as many as are drawn, evenly chosen with the first and the last; by channels."""
    rows = sorted(layer.points)
    if len(rows) > MOST_POINTS:
        step = (len(rows) - 1) / (MOST_POINTS - 1)
        rows = [rows[round(step * place)] for place in range(MOST_POINTS)]
    return tuple((width, value * scale, low * scale, high * scale) for width, value, low, high in rows)


def draw(
    width: int, layers: Sequence[LayerStaircase], points: Sequence[Sequence[Point]], unit: str, colour: str
) -> Figure:
    """The figure at that width in pixels: two or three beside each other, on a narrow page below each other."""
    wanted = 1 if width < WIDE else 2 if len(layers) in (2, 4) else 3
    columns = min(wanted, len(layers))
    margins = Margins(62, 18, 26, 48)
    figure, panels = grid_axes(width, PANEL_PX, margins, len(layers), columns, GAPS_PX)
    inner = (width - margins.left - margins.right - GAPS_PX[0] * (columns - 1)) / columns
    for place, (axes, layer, row) in enumerate(zip(panels, layers, points, strict=True)):
        _draw_layer(axes, place, layer, row, inner, colour)
        if place % columns == 0:
            axes.set_ylabel(f"time, {unit}")
        if place + columns >= len(layers):
            axes.set_xlabel("output channels")
    return figure


def _draw_layer(
    axes: Axes, place: int, layer: LayerStaircase, row: Sequence[Point], inner: float, colour: str
) -> None:
    widest = max(layer.channels, row[-1][0])
    values = [point[1] for point in row]
    top = min(max(point[3] for point in row), interval_ceiling(max(values), [point[3] for point in row]))
    axes.set_xlim(0, 1.05 * widest)
    axes.set_ylim(min(0.0, *values), 1.12 * max(top, *values) or 1.0)
    axes.set_title(
        shortened(layer.layer, max(8, int(inner / CHARACTER_PX))), loc="left", size=12, color=INK, pad=5
    )
    axes.axvline(layer.channels, color=EDGE, linewidth=1.5, linestyle="--", zorder=1, gid="present")
    for _, at, _, _ in (point for point in row if point[0] == layer.channels):
        axes.plot([0, layer.channels], [0, at], color=MUTED, linewidth=1.1, linestyle=":", zorder=1)
    axes.plot([point[0] for point in row], values, color=colour, linewidth=1, alpha=0.5, zorder=2)
    for width, value, low, high in row:
        axes.errorbar(
            [width], [value], yerr=error_ends(value, low, high), fmt="none", ecolor=colour, elinewidth=1.3,
            capsize=2.5, zorder=3,
        )  # fmt: skip
        axes.plot(
            [width], [value], marker="o", markersize=6, color=colour, markeredgecolor="white", zorder=4,
            gid=f"layer{place}w{width}",
        )  # fmt: skip
    ticks = spaced_ticks([layer.channels, *sorted((point[0] for point in row), reverse=True)], widest, inner)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.locator_params(axis="y", nbins=4)
    axes.ticklabel_format(axis="y", useOffset=False)


def _figures(point: Point, unit: str) -> str:
    width, value, low, high = point
    return f"{width} channels: {ms_text(value)} {unit} ({ms_text(low)} to {ms_text(high)})"


def _told(layer: LayerStaircase, row: Sequence[Point], unit: str) -> str:
    figures = ", ".join(f"{width}: {ms_text(value)}" for width, value, _, _ in row)
    return (
        f"{shortened(layer.layer, 60)}, which has {layer.channels} channels; {unit} by channels: {figures}."
    )


def _caption(planning: PlanningResult, layers: Sequence[LayerStaircase]) -> str:
    parts = [
        f"Single layers as the table has them, on {shortened(planning.table)}, with all their input channels; bars"
        " are intervals, and the line between dots only leads the eye. Dashed: the channels that the layer has."
        " Dotted: where its time would fall as its channels do. Each plot has a scale of its own."
    ]
    if len(layers) > DRAWN:
        parts.append(f"Of {len(layers)} layers {DRAWN} are drawn; result.json has the others.")
    if any(len(layer.points) > MOST_POINTS for layer in layers[:DRAWN]):
        parts.append(f"Of more than {MOST_POINTS} widths that many are drawn.")
    return " ".join(parts)
