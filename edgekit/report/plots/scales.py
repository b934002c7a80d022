"""What the latency–accuracy plot covers, and where a figure comes to lie in it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.report.plots.figures import Numbered
from edgekit.report.wording import is_share, latency_at
from edgekit.result import AccuracyResult, LatencyResult
from edgekit.types import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Point",
    "Scales",
    "axis_label",
    "interval_ceiling",
    "log_scale",
    "near",
    "points_of",
    "scales_of",
    "set_latency_axis",
    "set_linear_ticks",
    "spaced_ticks",
    "unit_of",
    "visible_ceiling",
    "visible_floor",
]

FAR = 6.0  # times the median: what lies beyond is named instead of drawn
DIGITS: tuple[tuple[int, ...], ...] = ((1, 2, 5), (1, 3), (1,))
TICK_GAP_PX = 10
CHARACTER_PX = 7.0  # of a tick label, at most


@dataclass(frozen=True)
class Point:
    """One candidate that has both figures."""

    numbered: Numbered
    latency: LatencyResult
    accuracy: AccuracyResult

    @property
    def x(self) -> float:
        return latency_at(self.latency)

    @property
    def original(self) -> float:
        """The original's value on the same samples."""
        return self.accuracy.value + self.accuracy.drop


@dataclass(frozen=True)
class Scales:
    """Ranges of both axes; `x` in ms, `y` in drawn units."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    metric: str

    @property
    def unit(self) -> float:
        """Shares are drawn in percent."""
        return unit_of(self.metric)

    def pixels(self, ms: float, value: float, size: tuple[float, float]) -> tuple[float, float]:
        """Where a point comes to lie, from the lower left corner, in an inner plot of that size."""
        low, high, at = (math.log10(x) if self.log else x for x in (*self.x, max(ms, 1e-9)))
        up = (value * self.unit - self.y[0]) / (self.y[1] - self.y[0])
        return (at - low) / (high - low) * size[0], up * size[1]

    def holds(self, point: Point) -> bool:
        """Whether the point itself lies within."""
        return (
            self.x[0] <= point.x <= self.x[1] and self.y[0] <= point.accuracy.value * self.unit <= self.y[1]
        )


def unit_of(metric: str) -> float:
    """What a fraction is multiplied by to be drawn: shares are drawn in percent."""
    return 100.0 if is_share(metric) else 1.0


def axis_label(name: str, metric: str, unit: str) -> str:
    """A name, with the unit behind it where the metric is a share."""
    return f"{name}, {unit}" if is_share(metric) else name


def log_scale(values: Iterable[float]) -> bool:
    """Whether the values span so much that a linear axis would squeeze the small ones."""
    least, most = min(values := tuple(values)), max(values)
    return least > 0 and most / least > 8


def visible_floor(accuracies: Sequence[AccuracyResult], max_drop: float | None) -> float:
    """The lowest value worth drawing: a collapsed candidate must not squeeze all others together."""
    original = max(accuracy.value + accuracy.drop for accuracy in accuracies)
    spread = max(accuracy.high for accuracy in accuracies) - original
    least = original - max(12 * (max_drop or 0.01), 3 * spread)
    return min((accuracy.low for accuracy in accuracies if accuracy.value >= least), default=least)


def visible_ceiling(times: Sequence[float], always: Sequence[float]) -> float:
    """The highest latency worth drawing: one slow candidate, or one wide interval, must not squeeze all others.

    `always` are drawn however high they lie.
    """
    far = FAR * statistics.median(times)
    return max([time for time in times if time <= far] + list(always))


def interval_ceiling(top: float, highs: Sequence[float]) -> float:
    """How far intervals are drawn: to twice the slowest value drawn, `top`, or further where most of them reach."""
    return max(2 * top, 1.2 * statistics.median(highs))


def near(most: float | None, times: Sequence[float]) -> float | None:
    """A latency budget that lies so near the measured times that a plot should reach it; else None."""
    return most if most is not None and min(times) / 3 <= most <= max(times) * 2 else None


def log_ticks(low: float, high: float, width: float) -> tuple[list[float], list[str]]:
    """Ticks within a logarithmic axis from `low` to `high` ms on `width` pixels, so few that no two labels meet.

    At 1, 2 and 5 of each decade, or 1 and 3, or decades alone; of many decades each second, third, …
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [[digit * 10.0**decade for decade in decades for digit in digits] for digits in DIGITS]
    choices += [
        [10.0**decade for decade in decades if decade % step == 0] for step in range(2, len(decades) + 1)
    ]
    per_decade = width / (math.log10(high) - math.log10(low))
    for values in choices:
        ticks = [value for value in values if low <= value <= high]
        labels = [f"{value:.12g}" for value in ticks]
        places = [per_decade * math.log10(value) for value in ticks]
        if all(
            places[k + 1] - places[k]
            >= CHARACTER_PX * (len(labels[k]) + len(labels[k + 1])) / 2 + TICK_GAP_PX
            for k in range(len(ticks) - 1)
        ):
            return ticks, labels
    return [], []


def set_latency_axis(axes: Axes, span: tuple[float, float], log: bool, width: float, label: str) -> None:
    """The horizontal axis over latencies, in ms."""
    axes.set_xlabel(label)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(*span)
        ticks, labels = log_ticks(*span, width)
        axes.set_xticks(ticks, labels)
        axes.set_xticks([], minor=True)
    else:
        axes.set_xlim(*span)
        set_linear_ticks(axes, width)


def set_linear_ticks(axes: Axes, width: float) -> None:
    """Round ticks on the horizontal axis, as many as find room."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(width // 75))))


def spaced_ticks(wanted: Sequence[int], widest: int, width: float) -> list[int]:
    """Of the values `wanted`, the most important first, those whose labels meet no earlier one's; ascending.

    On a linear axis from 0 whose `widest` value lies within `width` pixels.
    """
    chosen: list[int] = []
    for value in wanted:
        if all(
            abs(value - other) * width / (1.1 * widest)
            >= CHARACTER_PX * (len(str(value)) + len(str(other))) / 2 + TICK_GAP_PX
            for other in chosen
        ):
            chosen.append(value)
    return sorted(chosen)


def points_of(numbered: Sequence[Numbered]) -> list[Point]:
    """Those that have both a latency and an accuracy."""
    return [
        Point(entry, entry.candidate.latency_ms, entry.candidate.accuracy)
        for entry in numbered
        if entry.candidate.latency_ms and entry.candidate.accuracy
    ]


def scales_of(points: Sequence[Point], budget: Budget, always: Collection[str]) -> Scales:
    """Ranges that hold the points that lie together, those in `always`, and a budget that is not far off.

    Needs a point.
    """
    metric = points[0].accuracy.metric
    kept = [point.x for point in points if point.numbered.candidate.id in always]
    top = visible_ceiling([point.x for point in points], kept)
    shown = [point for point in points if point.x <= top]
    most = interval_ceiling(top, [point.latency.high for point in shown])
    ends = [min(point.latency.high, most) for point in shown] + [point.latency.low for point in shown]
    within = near(budget.max_latency_ms, ends)
    ends += [within] if within is not None else []
    log = log_scale(ends)
    x = (min(ends) / 1.15, max(ends) * 1.2) if log else (0.0, max(ends) * 1.08)
    accuracies = [point.accuracy for point in points]
    low = visible_floor(accuracies, budget.max_drop)
    if budget.max_drop is not None and budget.max_drop <= 3 * (points[0].original - low):
        low = min(low, points[0].original - 1.3 * budget.max_drop)
    high = max(max(accuracy.high for accuracy in accuracies), max(point.original for point in points))
    pad = 0.07 * (high - low) or 0.01
    unit = unit_of(metric)
    return Scales(x, ((low - pad) * unit, (high + pad) * unit), log, metric)
