"""Parts of an output, as one index along an axis (a channel, a column): what of them an error leaves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "axis_means",
    "ends_text",
    "finite",
    "neighbours",
    "part_scales",
    "part_text",
    "squared_errors",
    "telling_axis",
]

Floats = NDArray[np.float64]

CONSTANT = 1e-2  # a part that varies by less of its own size counts as constant
NOTHING = 1e-6  # of an output's largest value: smaller parts count as zero
PROBABILITY = 2.0**-8  # differences below it say nothing where all values lie between 0 and 1
ALIKE = 0.1  # neighbours of the worst part that keep hardly more are told with it


def part_scales(mean: Floats, variance: Floats, low: float, high: float) -> dict[int, Floats]:
    """Axis of [N, ...], from 1 on → s² of each of its parts, what their errors are measured by.

    `mean` and `variance` [...] are those of each element over the samples, `low` and `high` the ends of all values.
    s² is the mean variance of a part's elements, so that a constant grid which is added to a box outweighs nothing. s
    is at least 1 % of the part's size (a part that is constant is judged by its error), 1e-6 of the largest value, and
    1/256 where all values lie between 0 and 1.
    """
    floor = PROBABILITY if low >= 0 and high <= 1 else max(NOTHING * max(high, -low), 1e-12)
    scales = {}
    for axis in range(1, mean.ndim + 1):
        varying, size = axis_means(variance[None], axis)[0], axis_means(np.square(mean)[None], axis)[0]
        scales[axis] = np.maximum(np.maximum(varying, CONSTANT**2 * size), floor**2)
    return scales


def axis_means(values: Floats, axis: int) -> Floats:
    """[N, ...] → the mean of each sample's parts along `axis`, [N, parts]."""
    others = tuple(other for other in range(1, values.ndim) if other != axis)
    return np.asarray(values.mean(axis=others), np.float64)


def telling_axis(kept: Mapping[int, Floats]) -> int:
    """The axis on which parts differ most in what they keep, so that the worst of them is told from the others."""
    return max(kept, key=lambda axis: float(np.ptp(kept[axis])))


def neighbours(kept: Floats, part: int) -> tuple[int, int]:
    """The first and the last of the parts around `part` that keep hardly more than it does."""
    first = last = part
    limit = min(float(kept[part]) + ALIKE, 1 - ALIKE)
    while first > 0 and kept[first - 1] <= limit:
        first -= 1
    while last + 1 < len(kept) and kept[last + 1] <= limit:
        last += 1
    return first, last


def part_text(kept: Floats, axis: int, ends: tuple[int, int], seen: str) -> str:
    """Which parts, how much is kept of them, and what was seen there, in words."""
    first, last = ends
    place = f"{first}" if first == last else f"{first} to {last}"
    share = 100 * max(0.0, float(kept[first : last + 1].mean()))
    return f"axis {axis}, {place}: {share:.1f} % is kept ({seen})"


def ends_text(low: float, high: float) -> str:
    """How far values reach; (inf, -inf): none is finite."""
    if low > high:
        return "nothing finite"
    return f"{low:.3g} everywhere" if low == high else f"{low:.3g} to {high:.3g}"


def finite(values: NDArray[np.generic]) -> Floats:
    """As float64, with 0 in the place of NaN and infinities."""
    return np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def squared_errors(values: NDArray[np.generic], reference: NDArray[np.generic]) -> Floats:
    """Squared errors; infinite where one of the two is not finite and the other is another."""
    a, b = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.square(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(squares), np.inf, squares))
