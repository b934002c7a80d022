"""The latency–accuracy plot of the candidates of one origin."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.report.plots.budget_marks import budget_labels, budget_shapes
from edgekit.report.plots.figures import (
    INK,
    MUTED,
    Numbered,
    Plot,
    axis,
    error_bars,
    hover_text,
    layout,
    precision_ran,
    runtime_colour,
    symbol,
)
from edgekit.report.plots.labels import Box, Canvas, place_labels
from edgekit.report.plots.scales import (
    INNER_HEIGHT,
    INNER_WIDTHS,
    Point,
    Scales,
    log_ticks,
    near,
    points_of,
    scales_of,
)
from edgekit.report.wording import is_share
from edgekit.types import Budget

__all__ = ["pareto_plot"]

HEIGHT = 500


def pareto_plot(
    numbered: Sequence[Numbered], budget: Budget, marks: Mapping[str, str], ringed: str | None
) -> Plot | None:
    """The plot, or None where no candidate has both a latency and an accuracy.

    `marks` are words that stand beside single candidates ("winner", "original"), the most important first.
    """
    points = points_of(numbered)
    if not points:
        return None
    scales = scales_of(points, budget)
    original = points[0].original
    accuracy, percentile = points[0].accuracy, points[0].latency.percentile
    groups = _groups(points, scales)
    line = _frontier(points, scales)
    unit = ", %" if is_share(accuracy.metric) else ""
    frame = layout(
        HEIGHT,
        xaxis=axis(
            "estimated latency, ms (not measured)" if is_estimated(points) else f"latency {percentile}, ms",
            range=scales.x,
            **_ticks(scales),
        ),
        yaxis=axis(f"{html.escape(accuracy.metric)} ({accuracy.split}){unit}", range=scales.y),
        shapes=budget_shapes(scales, budget, original),
        annotations=[*budget_labels(scales, budget, original), *_labels(points, scales, marks, budget)],
        legend={"orientation": "h", "x": 0, "y": -0.17, "yanchor": "top"},
        margin={"l": 68, "r": 20, "t": 70, "b": 96},
        updatemenus=[_interval_switch(groups, scales, first=len(line))],
    )
    traces = [*line, *(trace for trace, _ in groups), *_ring(points, scales, ringed)]
    return Plot("pareto", traces, frame, HEIGHT, _caption(points, scales))


Group = tuple[dict[str, Any], list[Point]]


def _groups(points: Sequence[Point], scales: Scales) -> list[Group]:
    """One trace per backend and precision that ran, so that the legend names both."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        candidate = point.numbered.candidate
        groups.setdefault((candidate.backend, precision_ran(candidate)), []).append(point)
    traces: list[Group] = []
    for (backend, precision), members in sorted(groups.items()):
        first = members[0].numbered.candidate
        colour = runtime_colour(first.backend)
        xs = [point.x for point in members]
        bars = error_bars(xs, [p.latency.low for p in members], [p.latency.high for p in members])
        trace = {
            "type": "scatter",
            "mode": "markers",
            "name": html.escape(f"{backend} {precision}"),
            "x": xs,
            "y": [point.accuracy.value * scales.unit for point in members],
            "error_x": {**bars, "color": colour},
            "error_y": {**_vertical(members, scales, paired=True), "color": colour},
            "marker": {
                "size": 10,
                "color": colour,
                "symbol": symbol(first),
                "line": {"width": 1, "color": "#fff"},
            },
            "hovertext": [hover_text(point.numbered) for point in members],
            "hoverinfo": "text",
        }
        traces.append((trace, members))
    return traces


def _vertical(points: Sequence[Point], scales: Scales, *, paired: bool) -> dict[str, Any]:
    values = [point.accuracy.value * scales.unit for point in points]
    if paired:
        lows = [(point.original - point.accuracy.drop_high) * scales.unit for point in points]
        highs = [(point.original - point.accuracy.drop_low) * scales.unit for point in points]
    else:
        lows = [point.accuracy.low * scales.unit for point in points]
        highs = [point.accuracy.high * scales.unit for point in points]
    return error_bars(values, lows, highs)


def _frontier(points: Sequence[Point], scales: Scales) -> list[dict[str, Any]]:
    members = sorted((p for p in points if p.numbered.candidate.frontier), key=lambda point: point.x)
    if len(members) < 2:
        return []
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto frontier",
            "x": [point.x for point in members],
            "y": [point.accuracy.value * scales.unit for point in members],
            "line": {"color": MUTED, "width": 1.6, "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]


def _ticks(scales: Scales) -> dict[str, object]:
    return log_ticks(10 ** scales.x[0], 10 ** scales.x[1]) if scales.log else {}


def _ring(points: Sequence[Point], scales: Scales, best: str | None) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [point.x],
            "y": [point.accuracy.value * scales.unit],
            "marker": {"size": 20, "color": INK, "symbol": "circle-open", "line": {"width": 2}},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for point in points
        if point.numbered.candidate.id == best
    ]


def _interval_switch(groups: Sequence[Group], scales: Scales, first: int) -> dict[str, Any]:
    """Two buttons: vertical bars of the paired drop, or of the accuracy itself."""
    traces = list(range(first, first + len(groups)))
    buttons = []
    for label, paired in (("bars: paired drop", True), ("bars: accuracy", False)):
        bars = [_vertical(members, scales, paired=paired) for _, members in groups]
        update = {
            "error_y.array": [bar["array"] for bar in bars],
            "error_y.arrayminus": [bar["arrayminus"] for bar in bars],
        }
        buttons.append({"label": label, "method": "restyle", "args": [update, traces]})
    place = {"x": 0, "xanchor": "left", "y": 1.07, "yanchor": "bottom"}
    look = {
        "type": "buttons",
        "direction": "right",
        "showactive": True,
        "font": {"size": 11},
        "bgcolor": "#ffffff",
    }
    return {
        **place,
        **look,
        "bordercolor": "#c3ccd4",
        "pad": {"t": 0, "b": 2, "l": 0, "r": 0},
        "buttons": buttons,
    }


def _labels(
    points: Sequence[Point], scales: Scales, marks: Mapping[str, str], budget: Budget
) -> list[dict[str, Any]]:
    order = {name: place for place, name in enumerate(marks)}
    ordered = sorted(
        points, key=lambda p: (order.get(p.numbered.candidate.id, len(marks)), p.numbered.number)
    )
    texts = [f"{p.numbered.number} {marks.get(p.numbered.candidate.id, '')}".strip() for p in ordered]
    sizes = [(6.6 * len(text) + 4, 14.0) for text in texts]
    shifts = place_labels(sizes, [_canvas(ordered, scales, budget, width) for width in INNER_WIDTHS])
    return [
        {
            "x": scales.along(point.x),
            "y": point.accuracy.value * scales.unit,
            "text": f"<b>{text}</b>" if point.numbered.candidate.id in order else text,
            "font": {"size": 11, "color": INK},
            **_shifted(shift, size),
        }
        for point, text, size, shift in zip(ordered, texts, sizes, shifts, strict=True)
        if shift is not None
    ]


def _shifted(shift: tuple[float, float], size: tuple[float, float]) -> dict[str, Any]:
    """Where the text goes; one that had to go far gets a thin line to its point."""
    gap = max(abs(shift[0]) - size[0] / 2, abs(shift[1]) - size[1] / 2)
    if gap < 14:
        return {"showarrow": False, "xshift": shift[0], "yshift": shift[1]}
    tail = {"ax": shift[0], "ay": -shift[1], "xanchor": "center", "yanchor": "middle"}
    return {**tail, "showarrow": True, "arrowhead": 0, "arrowwidth": 0.7, "arrowcolor": MUTED, "standoff": 6}


def _canvas(points: Sequence[Point], scales: Scales, budget: Budget, width: float) -> Canvas:
    """Points, error bars, the frontier and the budget's line in pixels, at one width of the inner plot."""
    ends: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for point in points:
        latency, accuracy = point.latency, point.accuracy
        ends.append(((latency.low, accuracy.value), (latency.high, accuracy.value)))
        low, high = point.original - accuracy.drop_high, point.original - accuracy.drop_low
        ends.append(((point.x, low), (point.x, high)))
    if near(budget.max_latency_ms, [point.x for point in points]):
        most, bottom, top = budget.max_latency_ms, scales.y[0] / scales.unit, scales.y[1] / scales.unit
        ends.append(((most, bottom), (most, top)))
    steps = sorted((p for p in points if p.numbered.candidate.frontier), key=lambda point: point.x)
    for point, other in itertools.pairwise(steps):
        corner = (other.x, point.accuracy.value)
        ends += [((point.x, point.accuracy.value), corner), (corner, (other.x, other.accuracy.value))]
    boxes = []
    for start, stop in ends:
        (x0, y0), (x1, y1) = scales.pixels(*start, width), scales.pixels(*stop, width)
        boxes.append(Box((x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0) / 2 + 2, abs(y1 - y0) / 2 + 2))
    frame = Box(width / 2, INNER_HEIGHT / 2, width / 2, INNER_HEIGHT / 2)
    pixels = tuple(scales.pixels(point.x, point.accuracy.value, width) for point in points)
    return Canvas(frame, pixels, tuple(boxes))


def is_estimated(points: Sequence[Point]) -> bool:
    """Whether the latencies are estimates; a plot shows candidates of one origin."""
    return points[0].numbered.candidate.origin == "estimated"


def _caption(points: Sequence[Point], scales: Scales) -> str:
    across = (
        "the range of the estimate" if is_estimated(points) else "95 % interval of the latency percentile"
    )
    below = [point.numbered.number for point in points if point.accuracy.value * scales.unit < scales.y[0]]
    parts = [
        "Up and to the left is better. Numbers are those of the table; hover for all figures."
        f" Horizontal bars: {across}; vertical bars: 95 % interval of the"
        " paired drop from the original, or of the accuracy itself."
        " Shaded: within the latency and accuracy limits."
    ]
    if below:
        numbers = ", ".join(str(number) for number in below)
        parts.append(f"Below the plotted range, so that the others stay apart: {numbers}.")
    return " ".join(parts)
