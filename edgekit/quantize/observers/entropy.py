"""The range that keeps most of a distribution's information, from a histogram (KL divergence).

The method is TensorRT's (S. Migacz, "8-bit Inference with TensorRT", GTC 2017): for growing thresholds the
distribution clipped at the threshold is compared with the same one squeezed into the integer levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.quantize.observers.histogram import DynamicHistogram
from edgekit.quantize.observers.ranges import Range

__all__ = ["entropy_range"]

CANDIDATES = 96


def entropy_range(histogram: DynamicHistogram, levels: int) -> Range:
    """Clip the magnitude at the threshold of smallest divergence; both ends stay within [min, max]."""
    two_sided = histogram.low < 0.0 < histogram.high
    magnitudes, width = _magnitudes(histogram)
    kept_levels = levels // 2 if two_sided else levels
    if len(magnitudes) <= kept_levels or magnitudes.sum() == 0:
        return Range(histogram.low, histogram.high)
    thresholds = np.unique(np.linspace(kept_levels, len(magnitudes), CANDIDATES).astype(int))
    divergences = [_divergence(magnitudes, int(bins), kept_levels) for bins in thresholds]
    threshold = float(thresholds[int(np.argmin(divergences))]) * width
    low = min(max(histogram.low, -threshold), histogram.high)
    return Range(low, max(min(histogram.high, threshold), low))


def _magnitudes(histogram: DynamicHistogram) -> tuple[NDArray[np.float64], float]:
    """Counts over |x| in at most `histogram.bins` bins, the first bin starting at zero; and the bins' width.

    Exact zeros are left out: they are represented without error, and would drown all else after a ReLU.
    """
    counts = histogram.counts().astype(np.float64)
    first = round(histogram.edges()[0] / histogram.width)
    cells = np.arange(first, first + len(counts))
    counts[cells == 0] -= histogram.zeros
    folded = np.where(cells >= 0, cells, -cells - 1)
    # Far from zero the histogram's bins are finer than the distance to zero can be cut into: merge them.
    merged = max(0, int(folded.max()).bit_length() - histogram.bins.bit_length() + 1)
    return np.bincount(folded >> merged, weights=counts).astype(np.float64), histogram.width * 2.0**merged


def _divergence(counts: NDArray[np.float64], kept: int, levels: int) -> float:
    """KL(P || Q): P is `counts` [n] with all beyond `kept` bins in the last kept one; Q has `levels` levels."""
    clipped = counts[:kept]
    reference = clipped.copy()
    reference[-1] += counts[kept:].sum()
    level = np.arange(kept) * levels // kept
    occupied = clipped > 0
    mass = np.bincount(level, weights=clipped, minlength=levels)
    cells = np.bincount(level, weights=occupied, minlength=levels)
    squeezed = np.where(occupied, mass[level] / np.maximum(cells[level], 1.0), 0.0)
    if squeezed.sum() == 0.0:
        return float("inf")
    p, q = reference / reference.sum(), squeezed / squeezed.sum()
    both = (p > 0) & (q > 0)
    # Mass that Q cannot express (outliers in an empty last bin) is charged as if Q held half a sample there.
    missing = (p > 0) & (q == 0)
    floor = 0.5 / counts.sum()
    return float(
        (p[both] * np.log(p[both] / q[both])).sum() + (p[missing] * np.log(p[missing] / floor)).sum()
    )
