"""The value range of a tensor, and the affine quantization parameters that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["SMALLEST_WIDTH", "AffineParameters", "Range", "affine_parameters"]

SMALLEST_WIDTH = 1e-6
"""Width given to a range without any (a tensor that is always zero), so that its scale is a normal float32."""


@dataclass(frozen=True)
class Range:
    """Lowest and highest value that is kept; what lies outside is clipped. In the tensor's own unit."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"a range needs finite low <= high, not low (={self.low}), high (={self.high})")

    def with_zero(self) -> Range:
        """The range widened to hold zero, which affine quantization must represent exactly, and never empty."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        return Range(low, high) if high - low >= SMALLEST_WIDTH else Range(low, low + SMALLEST_WIDTH)

    def symmetric(self) -> Range:
        """The smallest range [-m, m] that holds this one, never empty."""
        edge = max(abs(self.low), abs(self.high), SMALLEST_WIDTH)
        return Range(-edge, edge)


@dataclass(frozen=True)
class AffineParameters:
    """value = scale * (q - zero_point), with `low` <= q <= `high` (integers)."""

    scale: float
    zero_point: int
    low: int
    high: int


def affine_parameters(values: Range, low: int, high: int, *, symmetric: bool = False) -> AffineParameters:
    """Scale and zero point that map `values` to the integers `low`..`high`.

    Asymmetric: scale = width / (high - low), the zero point rounded, so zero is exact (Jacob et al. 2018,
    arXiv:1712.05877, section 2.1). Symmetric: the zero point is the middle of the integers.
    """
    if symmetric:
        edge = values.symmetric().high
        middle = math.ceil((low + high) / 2)
        return AffineParameters(edge / (high - middle), middle, low, high)
    safe = values.with_zero()
    scale = (safe.high - safe.low) / (high - low)
    zero_point = min(max(round(low - safe.low / scale), low), high)
    return AffineParameters(scale, zero_point, low, high)
