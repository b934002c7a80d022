"""Observers: each watches one tensor stream by and says which range to keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.quantize.observers.entropy import entropy_range
from edgekit.quantize.observers.histogram import DynamicHistogram
from edgekit.quantize.observers.mse import mse_range
from edgekit.quantize.observers.ranges import Range

__all__ = ["OBSERVERS", "Observer", "make_observer"]


class Observer(Protocol):
    """Watches one tensor. Memory does not grow with what was observed."""

    def observe(self, array: NDArray[Any]) -> None:
        """Take in the values of an array of any shape. Raises ValueError when one is not finite."""

    def range(self) -> Range:
        """The range to keep, inside [min, max] of all values. Raises ValueError before the first value."""


class MinMaxObserver:
    """Keeps everything."""

    def __init__(self) -> None:
        self._low = math.inf
        self._high = -math.inf

    def observe(self, array: NDArray[Any]) -> None:
        if array.size == 0:
            return
        low, high = float(array.min()), float(array.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values that are not finite (NaN or infinity)")
        self._low, self._high = min(self._low, low), max(self._high, high)

    def range(self) -> Range:
        if self._low > self._high:
            raise ValueError("no values were observed")
        return Range(self._low, self._high)


class _HistogramObserver:
    """What the observers share that decide from a histogram."""

    def __init__(self, bins: int = 4096) -> None:
        self.histogram = DynamicHistogram(bins)

    def observe(self, array: NDArray[Any]) -> None:
        self.histogram.add(array)


class PercentileObserver(_HistogramObserver):
    """Keeps `percentile` percent of the values, cutting equally many off either end."""

    def __init__(self, percentile: float = 99.99, bins: int = 4096) -> None:
        super().__init__(bins)
        if not 50.0 < percentile <= 100.0:
            raise ValueError(f"percentile (={percentile:g}) must be above 50 and at most 100")
        self.percentile = percentile

    def range(self) -> Range:
        histogram = self.histogram
        edges = histogram.edges()
        below = np.concatenate([[0], np.cumsum(histogram.counts())]) / histogram.samples
        cut = (1.0 - self.percentile / 100.0) / 2.0
        if cut == 0.0:
            return Range(histogram.low, histogram.high)
        low, high = (float(edge) for edge in np.interp([cut, 1.0 - cut], below, edges))
        low = min(max(low, histogram.low), histogram.high)
        return Range(low, min(max(high, low), histogram.high))


class EntropyObserver(_HistogramObserver):
    """Clips where the clipped, quantized distribution stays closest to the original one (KL divergence).

    `symmetric`: the integers are spread around zero, so one-sided values get half of them.
    """

    def __init__(self, levels: int = 256, bins: int = 4096, symmetric: bool = False) -> None:
        super().__init__(bins)
        self.levels = levels
        self.symmetric = symmetric

    def range(self) -> Range:
        one_sided = self.histogram.low >= 0.0 or self.histogram.high <= 0.0
        levels = self.levels // 2 if self.symmetric and one_sided else self.levels
        return entropy_range(self.histogram, levels)


class MseObserver(_HistogramObserver):
    """Clips where the expected squared quantization error is smallest."""

    def __init__(self, levels: int = 256, bins: int = 4096, symmetric: bool = False) -> None:
        super().__init__(bins)
        self.levels = levels
        self.symmetric = symmetric

    def range(self) -> Range:
        return mse_range(self.histogram, self.levels, symmetric=self.symmetric)


OBSERVERS: Mapping[str, Callable[[float, bool], Observer]] = {
    "minmax": lambda percentile, symmetric: MinMaxObserver(),
    "percentile": lambda percentile, symmetric: PercentileObserver(percentile),
    "entropy": lambda percentile, symmetric: EntropyObserver(symmetric=symmetric),
    "mse": lambda percentile, symmetric: MseObserver(symmetric=symmetric),
}
"""Kind (a recipe's `observer`) → observer, given the recipe's percentile and whether the integers are symmetric."""


def make_observer(kind: str, percentile: float = 99.99, symmetric: bool = False) -> Observer:
    """A fresh observer. Raises ValueError for a kind that is not in OBSERVERS."""
    if kind not in OBSERVERS:
        raise ValueError(f'no observer "{kind}"; allowed: {", ".join(OBSERVERS)}')
    return OBSERVERS[kind](percentile, symmetric)
