"""How far two tensors are apart, over any number of samples: sums are kept, never the tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import Grid

__all__ = ["BEST_DB", "Accumulator", "Difference", "cosine", "decibel"]

BEST_DB = 150.0
"""Told where nothing differs that float32 can show."""


@dataclass(frozen=True)
class Difference:
    """What sets B apart from A on one tensor; A is the reference. Magnitudes are in the tensor's own unit.

    `sqnr_db` is 10 log10(sum a² / sum (b - a)²), within ±BEST_DB. `max_of_range` is `max_abs` over the width of
    A's values. `gain` and `offset` are the least-squares fit b ≈ gain · a + offset, which leaves `unexplained`
    of b's variance (0 to 1). `shift_share` of the error's power is a constant shift of each channel (axis 1).
    `outside_share` of A's values lie outside of B's grid; cutting them off makes `clipped_share` of the error's
    power. `grid_db` is the SQNR that rounding to B's grid alone would leave (None without a grid).
    `not_finite` are the shares of NaN and infinities in A and in B; sums leave such places out.
    """

    elements: int
    cosine: float
    sqnr_db: float
    max_abs: float
    max_of_range: float
    range_a: tuple[float, float]
    range_b: tuple[float, float]
    gain: float
    offset: float
    unexplained: float
    shift_share: float
    outside_share: float
    clipped_share: float
    grid_db: float | None
    not_finite: tuple[float, float]


class Accumulator:
    """Sums over pairs of arrays of one shape [N, ...], a the reference. `grid` is what B's values lie on."""

    def __init__(self, grid: Grid | None = None) -> None:
        self._grid = grid
        self._count = self._total = 0
        self._a = self._b = self._aa = self._bb = self._ab = self._dd = 0.0
        self._max_abs = self._outside = self._clipped = 0.0
        self._ends_a = self._ends_b = (math.inf, -math.inf)
        self._shift: NDArray[np.float64] | None = None
        self._per_channel = 0
        self._bad = [0, 0]

    def add(self, a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
        """One more batch. Raises ValueError on two shapes."""
        if a.shape != b.shape:
            raise ValueError(f"shapes differ: a (={list(a.shape)}), b (={list(b.shape)})")
        left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
        finite_a, finite_b = np.isfinite(left), np.isfinite(right)
        self._total += left.size
        self._bad[0] += left.size - int(finite_a.sum())
        self._bad[1] += left.size - int(finite_b.sum())
        usable = finite_a & finite_b
        if not usable.all():
            left, right = np.where(usable, left, 0.0), np.where(usable, right, 0.0)
        error = right - left
        self._count += int(usable.sum())
        self._a, self._b = self._a + float(left.sum()), self._b + float(right.sum())
        self._aa, self._bb = self._aa + float(np.square(left).sum()), self._bb + float(np.square(right).sum())
        self._ab, self._dd = self._ab + float((left * right).sum()), self._dd + float(np.square(error).sum())
        self._max_abs = max(self._max_abs, float(np.abs(error).max(initial=0.0)))
        self._ends_a, self._ends_b = _widened(self._ends_a, left), _widened(self._ends_b, right)
        self._add_shift(error)
        if self._grid is not None:
            beyond = left - np.clip(
                left, self._grid.low - self._grid.step / 2, self._grid.high + self._grid.step / 2
            )
            self._outside += float(np.count_nonzero(beyond))
            self._clipped += float(np.square(beyond).sum())

    def _add_shift(self, error: NDArray[np.float64]) -> None:
        axes = (0, *range(2, error.ndim))
        shift = error.sum(axis=axes) if error.ndim > 1 else error.sum(keepdims=True)
        if self._shift is not None and self._shift.shape != shift.shape:  # as many as there were boxes, say
            self._shift, self._per_channel = np.zeros_like(shift), 0
        self._shift = shift if self._shift is None else self._shift + shift
        self._per_channel += error.size // max(1, shift.size)

    def result(self) -> Difference:
        """What all batches together say. Raises ValueError without any."""
        if not self._total:
            raise ValueError("no values were compared")
        low, high = self._ends_a
        shift = np.zeros(1) if self._shift is None else self._shift
        moved = float(np.square(shift).sum()) / max(1, self._per_channel)
        gain, offset, unexplained = self._fit()
        count = max(1, self._count)
        grid_db = None
        if (
            self._grid is not None
        ):  # rounding errors are uniform: step² / 12 (Bennett, Bell Syst. Tech. J. 1948)
            grid_db = decibel(self._aa / count, self._grid.step**2 / 12)
        return Difference(
            elements=self._total,
            cosine=cosine(self._ab, self._aa, self._bb, same=self._dd == 0.0),
            sqnr_db=decibel(self._aa, self._dd),
            max_abs=self._max_abs,
            max_of_range=self._max_abs / (high - low) if high > low else float(self._max_abs > 0),
            range_a=_ends(self._ends_a),
            range_b=_ends(self._ends_b),
            gain=gain,
            offset=offset,
            unexplained=unexplained,
            shift_share=_share(moved, self._dd),
            outside_share=self._outside / count,
            clipped_share=_share(self._clipped, self._dd),
            grid_db=grid_db,
            not_finite=(self._bad[0] / self._total, self._bad[1] / self._total),
        )

    def _fit(self) -> tuple[float, float, float]:
        """Gain, offset and the share of b's variance that the fit leaves."""
        count = max(1, self._count)
        mean_a, mean_b = self._a / count, self._b / count
        spread_a = max(0.0, self._aa / count - mean_a**2)
        spread_b = max(0.0, self._bb / count - mean_b**2)
        together = self._ab / count - mean_a * mean_b
        if spread_a <= 1e-12 * self._aa / count or spread_b <= 0.0:
            return 1.0, mean_b - mean_a, 1.0
        gain = together / spread_a
        return gain, mean_b - gain * mean_a, min(1.0, max(0.0, 1.0 - together**2 / (spread_a * spread_b)))


def cosine(ab: float, aa: float, bb: float, *, same: bool = False) -> float:
    """Cosine from the sums of a·b, a² and b². Equal tensors have 1, also when both are zero."""
    if same:
        return 1.0
    length = math.sqrt(aa) * math.sqrt(bb)
    return min(1.0, max(-1.0, ab / length)) if length > 0.0 else 0.0


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise), within ±BEST_DB; BEST_DB without noise."""
    if noise <= 0.0:
        return BEST_DB
    if signal <= 0.0:
        return -BEST_DB
    return min(BEST_DB, max(-BEST_DB, 10.0 * (math.log10(signal) - math.log10(noise))))


def _widened(ends: tuple[float, float], values: NDArray[np.float64]) -> tuple[float, float]:
    if not values.size:
        return ends
    return min(ends[0], float(values.min())), max(ends[1], float(values.max()))


def _ends(ends: tuple[float, float]) -> tuple[float, float]:
    return ends if ends[0] <= ends[1] else (0.0, 0.0)


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole > 0.0 else 0.0
