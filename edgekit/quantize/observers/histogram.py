"""A histogram that grows with its data, in bounded memory, and does not depend on how the data are cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DynamicHistogram"]

FINEST_BITS = 24
"""A bin is never narrower than 2**-24 of the largest magnitude: a float32 resolves no more."""
BLOCK = 1 << 16
"""Values counted at a time: what stands between them and their bins takes 24 bytes per value."""


class DynamicHistogram:
    """Counts in at most `bins` bins of equal width 2**k, every edge a multiple of the width.

    Two neighbouring bins of such a grid are exactly one bin of the next wider grid, so widening never moves a
    sample across an edge: counts depend on the data alone, not on their order or on the batches they came in.
    """

    def __init__(self, bins: int = 4096) -> None:
        if bins < 4 or bins % 2:
            raise ValueError(f"bins (={bins}) must be an even number, at least 4")
        self.bins = bins
        self.low = math.inf
        self.high = -math.inf
        self.samples = 0
        self.zeros = 0
        self._exponent = 0
        self._first = 0
        self._counts: NDArray[np.int64] = np.zeros(bins, np.int64)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self._exponent)

    def add(self, array: NDArray[Any]) -> None:
        """Count all values of an array of any shape. Raises ValueError when one is not finite."""
        values = np.asarray(array, dtype=np.float32).ravel()
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("values that are not finite (NaN or infinity)")
        self._widen(min(low, self.low), max(high, self.high))
        for start in range(0, values.size, BLOCK):
            # In float64 a float32 times a power of two is exact and never underflows: the floor is the true bin.
            cells = np.floor(np.ldexp(values[start : start + BLOCK], -self._exponent, dtype=np.float64))
            self._counts += np.bincount(cells.astype(np.int64) - self._first, minlength=self.bins)
        self.samples += values.size
        self.zeros += values.size - int(np.count_nonzero(values))

    def counts(self) -> NDArray[np.int64]:
        """Counts of the occupied stretch of bins; int64 [n], n <= bins."""
        if not self.samples:
            raise ValueError("no values were observed")
        return self._counts[: self._cell(self.high, self._exponent) - self._first + 1]

    def edges(self) -> NDArray[np.float64]:
        """Edges of the bins of `counts()`; float64 [n + 1]."""
        return np.ldexp(np.arange(len(self.counts()) + 1, dtype=np.float64) + self._first, self._exponent)

    def _widen(self, low: float, high: float) -> None:
        """Move to the finest grid that holds low..high, merging what was counted."""
        exponent = self._fitting_exponent(low, high)
        first = self._cell(low, exponent)
        if self.samples and (exponent != self._exponent or first != self._first):
            occupied = np.flatnonzero(self._counts)
            # Shifting right floors for negative cells too: cell c of the finer grid lies in cell c >> steps.
            cells = ((occupied + self._first) >> (exponent - self._exponent)) - first
            merged = np.zeros(self.bins, np.int64)
            np.add.at(merged, cells, self._counts[occupied])
            self._counts = merged
        self._exponent, self._first = exponent, first
        self.low, self.high = low, high

    def _fitting_exponent(self, low: float, high: float) -> int:
        largest = max(abs(low), abs(high))
        exponent = (math.frexp(largest)[1] if largest else -100) - FINEST_BITS
        if high > low:
            exponent = max(exponent, math.frexp((high - low) / self.bins)[1] - 1)
        while self._cell(high, exponent) - self._cell(low, exponent) >= self.bins:
            exponent += 1
        return exponent

    @staticmethod
    def _cell(value: float, exponent: int) -> int:
        return math.floor(math.ldexp(value, -exponent))
