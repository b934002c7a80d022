"""What the latency–accuracy plot covers, and where a figure comes to lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from edgekit.report.plots.figures import Numbered
from edgekit.report.wording import is_share, latency_at
from edgekit.result import AccuracyResult, LatencyResult
from edgekit.types import Budget

__all__ = [
    "INNER_HEIGHT",
    "INNER_WIDTHS",
    "Point",
    "Scales",
    "log_scale",
    "log_ticks",
    "near",
    "points_of",
    "scales_of",
    "visible_floor",
]

# The inner plot on a narrow and on a wide page: labels are placed to keep clear on both.
INNER_WIDTHS, INNER_HEIGHT = (520.0, 740.0, 960.0), 334.0


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
    """Ranges of both axes; `x` in ms (or its decimal logarithm where `log`), `y` in drawn units."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    metric: str

    @property
    def unit(self) -> float:
        """Shares are drawn in percent."""
        return 100.0 if is_share(self.metric) else 1.0

    def along(self, ms: float) -> float:
        """A latency as plotly's axis coordinate."""
        return math.log10(ms) if self.log else ms

    def pixels(self, ms: float, value: float, width: float) -> tuple[float, float]:
        """Where a point comes to lie, from the lower left corner, in an inner plot of that width."""
        across = (self.along(ms) - self.x[0]) / (self.x[1] - self.x[0])
        up = (value * self.unit - self.y[0]) / (self.y[1] - self.y[0])
        return across * width, up * INNER_HEIGHT


def log_scale(values: Sequence[float]) -> bool:
    """Whether the values span so much that a linear axis would squeeze the small ones."""
    return min(values) > 0 and max(values) / min(values) > 8


def visible_floor(accuracies: Sequence[AccuracyResult], max_drop: float | None) -> float:
    """The lowest value worth drawing: a collapsed candidate must not squeeze all others together."""
    original = max(accuracy.value + accuracy.drop for accuracy in accuracies)
    spread = max(accuracy.high for accuracy in accuracies) - original
    least = original - max(12 * (max_drop or 0.01), 3 * spread)
    return min((accuracy.low for accuracy in accuracies if accuracy.value >= least), default=least)


def near(most: float | None, times: Sequence[float]) -> TypeGuard[float]:
    """Whether a latency budget lies so near the measured times that a plot should reach it."""
    return most is not None and min(times) / 3 <= most <= max(times) * 2


def log_ticks(low: float, high: float) -> dict[str, object]:
    """Ticks at 1, 2 and 5 of each decade for a logarithmic axis over latencies from `low` to `high` ms."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return {
        "type": "log",
        "tickmode": "array",
        "tickvals": values,
        "ticktext": [f"{value:g}" for value in values],
    }


def points_of(numbered: Sequence[Numbered]) -> list[Point]:
    """Those that have both a latency and an accuracy."""
    return [
        Point(entry, entry.candidate.latency_ms, entry.candidate.accuracy)
        for entry in numbered
        if entry.candidate.latency_ms and entry.candidate.accuracy
    ]


def scales_of(points: Sequence[Point], budget: Budget) -> Scales:
    """Ranges that hold all intervals, the original and a budget that is not far off; needs a point."""
    metric = points[0].accuracy.metric
    unit = 100.0 if is_share(metric) else 1.0
    times = [end for point in points for end in (point.latency.low, point.latency.high)]
    most = budget.max_latency_ms
    if near(most, times):
        times.append(most)
    log = log_scale(times)
    x = (math.log10(min(times)) - 0.05, math.log10(max(times)) + 0.08) if log else (0.0, max(times) * 1.08)
    accuracies = [point.accuracy for point in points]
    low = visible_floor(accuracies, budget.max_drop)
    if budget.max_drop is not None and budget.max_drop <= 3 * (points[0].original - low):
        low = min(low, points[0].original - 1.3 * budget.max_drop)
    high = max(max(accuracy.high for accuracy in accuracies), max(point.original for point in points))
    pad = 0.07 * (high - low) or 0.01
    return Scales(x, ((low - pad) * unit, (high + pad) * unit), log, metric)
