"""The range with the smallest expected squared quantization error, from a histogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.quantize.observers.histogram import DynamicHistogram
from edgekit.quantize.observers.ranges import Range, affine_parameters

__all__ = ["mse_range"]

COARSE = np.linspace(0.1, 1.0, 46)
FINE = np.linspace(0.8, 1.2, 21)


def expected_error(
    edges: NDArray[np.float64],
    counts: NDArray[np.int64],
    values: Range,
    levels: int,
    *,
    symmetric: bool = False,
) -> float:
    """Sum of (x - Q(x))**2 when the `counts` [n] are spread evenly over their bins, `edges` [n + 1].

    The mean over a bin is the difference of an antiderivative at its edges. In range the error is a saw tooth
    of period `scale`, with antiderivative n*scale**3/12 + r**3/3, where x = n*scale + r and |r| <= scale/2;
    outside it is the distance to the last level.
    """
    grid = affine_parameters(values, 0, levels - 1, symmetric=symmetric)
    scale = grid.scale
    lowest = (grid.low - grid.zero_point) * scale
    highest = (grid.high - grid.zero_point) * scale
    inside = np.clip(edges, lowest, highest)
    steps = np.rint(inside / scale)
    saw = steps * (scale**3 / 12.0) + (inside - steps * scale) ** 3 / 3.0
    outside = (edges - inside) ** 3 / 3.0
    return float(counts @ (np.diff(saw + outside) / np.diff(edges)))


def mse_range(histogram: DynamicHistogram, levels: int, *, symmetric: bool = False) -> Range:
    """Search the clipping range: both ends cut together, then each on its own, ever finer; within [min, max].

    Exact zeros (what ReLU leaves) are left out: affine quantization represents them without error.
    """
    counts, edges = histogram.counts().copy(), histogram.edges()
    counts[np.searchsorted(edges[:-1], 0.0, side="right") - 1] -= histogram.zeros
    low, high = histogram.low, histogram.high

    def error(candidate: Range) -> float:
        return expected_error(edges, counts, candidate, levels, symmetric=symmetric)

    def clipped(new_low: float, new_high: float) -> Range:
        return Range(float(min(max(new_low, low), high)), float(max(min(new_high, high), low)))

    # Only ends beyond zero can be cut towards zero: what lies between zero and the data costs nothing.
    lows = low * COARSE[::-1] if low < 0.0 else np.full(len(COARSE), low)
    highs = high * COARSE[::-1] if high > 0.0 else np.full(len(COARSE), high)
    best = min((clipped(*ends) for ends in zip(lows, highs, strict=True)), key=error)
    for scales, origin in ((COARSE, Range(low, high)), (FINE, None), (FINE, None)):
        start = origin or best
        sides = [clipped(best.low, start.high * s) for s in scales if high > 0.0]
        sides += [clipped(start.low * s, best.high) for s in scales if low < 0.0]
        best = min([best, *sides], key=error)
    return best
