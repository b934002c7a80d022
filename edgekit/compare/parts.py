"""What two artifacts' outputs differ by in their worst part: boxes up to 640 hide scores up to 1 in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.compare.divergence import CEILINGS
from edgekit.compare.statistics import decibel
from edgekit.measure.parts import (
    axis_means,
    ends_text,
    finite,
    neighbours,
    part_scales,
    part_text,
    squared_errors,
    telling_axis,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import TensorFacts

    Floats = NDArray[np.float64]

__all__ = ["FEWEST_SAMPLES", "PartDifference", "PartSums", "side_by_side"]

FEWEST_SAMPLES = 8
"""How much a part varies, by which its error is judged, is not known from fewer."""

BELOW_CEILING_DB = 27.0
"""A part may be so much worse than a sound tensor of the same arithmetic: of INT8, half of its variation is lost."""

KEEPS_PLACES = frozenset(
    {
        *("concat", "reshape", "flatten", "squeeze", "unsqueeze", "identity", "cast", "convert", "transpose"),
        *("slice", "stridedslice", "split", "variadicsplit", "gather", "pad", "dropout"),
    }
)
"""Kinds of operations that move values and leave them as they are."""


@dataclass(frozen=True)
class PartDifference:
    """The worst part of a tensor: index `first` to `last` (neighbours that are as bad) along `axis` of A's array.

    `kept` is the share of A's variation that B keeps there, 1 - e² / s² with `measure.parts.part_scales`' s²;
    `sqnr_db` is 10 log10(s² / e²), within ±150. `lost`: no sound artifact of this arithmetic does that. `text` says
    it in words. `range_a` holds the ends of A's values there.
    """

    axis: int
    first: int
    last: int
    kept: float
    sqnr_db: float
    lost: bool
    range_a: tuple[float, float]
    text: str


class PartSums:
    """Sums over pairs of arrays [N, ...], a the reference, N counted as samples. Memory: three arrays of one sample."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = self._errors = np.zeros(0)
        self._ends: dict[int, tuple[Floats, ...]] = {}  # axis → lows and highs of a's parts, and of b's
        self._varying_shape = False

    def add(self, a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
        """One more batch, of the same shape but for N."""
        if a.ndim < 2:
            a, b = a.reshape(-1, 1), b.reshape(-1, 1)
        shape = a.shape[1:]
        if not self._count:
            self._mean, self._squares, self._errors = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        if self._varying_shape or self._mean.shape != shape:  # as many as there were boxes, say
            self._varying_shape = True
            return
        values, before, count = finite(a), self._count, len(a)
        mean = values.mean(axis=0)
        # Chan, Golub and LeVeque (1983): sums of squares around the mean, merged without cancellation
        moved = mean - self._mean
        self._count = before + count
        self._mean = self._mean + moved * (count / self._count)
        self._squares += np.square(values - mean).sum(axis=0) + np.square(moved) * (
            before * count / self._count
        )
        self._errors += squared_errors(b, a).sum(axis=0)
        self._widen(a, b)

    def _widen(self, a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
        for axis in range(1, a.ndim):
            new = (*_ends(a, axis), *_ends(b, axis))
            old = self._ends.get(axis, new)
            wider = (np.minimum, np.maximum, np.minimum, np.maximum)
            self._ends[axis] = tuple(pick(*pair) for pick, *pair in zip(wider, old, new, strict=True))

    def result(self, arithmetic: str) -> PartDifference | None:
        """The worst part, or None: too few samples, shapes that depend on the values, a single part alone.

        `arithmetic` is the coarser one of the two artifacts.
        """
        if self._varying_shape or self._count < FEWEST_SAMPLES or self._mean.size < 2:
            return None
        low, high = float(self._ends[1][0].min()), float(self._ends[1][1].max())
        scales = part_scales(self._mean, self._squares / self._count, min(low, 0.0), max(high, 0.0))
        errors = {axis: axis_means(self._errors[None] / self._count, axis)[0] for axis in scales}
        kept = {axis: np.maximum(1.0 - errors[axis] / scales[axis], -1.0) for axis in scales}
        axis = telling_axis(kept)
        worst = int(np.argmax(errors[axis] / scales[axis]))
        first, last = neighbours(kept[axis], worst)
        inside = slice(first, last + 1)
        lows_a, highs_a, lows_b, highs_b = (ends[inside] for ends in self._ends[axis])
        range_a = float(lows_a.min()), float(highs_a.max())
        there = ends_text(float(lows_b.min()), float(highs_b.max()))
        sqnr_db = decibel(float(scales[axis][worst]), float(errors[axis][worst]))
        return PartDifference(
            axis=axis,
            first=first,
            last=last,
            kept=float(kept[axis][worst]),
            sqnr_db=sqnr_db,
            lost=sqnr_db < CEILINGS[arithmetic] - BELOW_CEILING_DB,
            range_a=range_a,
            text=part_text(
                kept[axis], axis, (first, last), f"B has {there} where A has {ends_text(*range_a)}"
            ),
        )


def side_by_side(facts: Sequence[TensorFacts], outputs: AbstractSet[str]) -> frozenset[str]:
    """Names of the tensors whose values reach an output as they are: every part of them is an answer.

    Within the network a channel that is lost may mean nothing; what it does is seen behind it.
    """
    answers: set[str] = set()
    for tensor in reversed(facts):  # in graph order: what comes behind is known
        if tensor.name in answers or not outputs.isdisjoint(tensor.names):
            answers.add(tensor.name)
            if tensor.op in KEEPS_PLACES:
                answers.update(tensor.inputs)
    return frozenset(answers)


def _ends(array: NDArray[np.generic], axis: int) -> tuple[Floats, Floats]:
    """The lowest and the highest finite value of each part along `axis`; (inf, -inf) where there is none."""
    values = np.asarray(array, np.float64)
    known, others = np.isfinite(values), tuple(other for other in range(values.ndim) if other != axis)
    return (
        np.asarray(values.min(axis=others, initial=np.inf, where=known)),
        np.asarray(values.max(axis=others, initial=-np.inf, where=known)),
    )
