"""How much of what the original's outputs say is kept, part by part, where there are no labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.types import WorstPart

__all__ = ["kept_variation"]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]

CHUNK_ELEMENTS = 4 << 20
CONSTANT = 1e-2  # a part that varies by less of its own size counts as constant
NOTHING = 1e-6  # of an output's largest value: smaller parts count as zero
PROBABILITY = 2.0**-8  # differences below it say nothing where all values lie between 0 and 1
WORST_SHARE = 0.1  # of the score is the worst part's own
ALIKE = 0.1  # neighbours of the worst part that keep hardly more are told with it


def kept_variation(outputs: Outputs, reference: Outputs) -> tuple[Floats, WorstPart]:
    """Scores [N], 1 for equal outputs, and the part that suffers most. `outputs`, `reference`: name → [N, ...].

    A part is one index along an axis of an output: a channel, a column. It keeps 1 - e² / s² of a sample (R², the
    coefficient of determination, cut off at -1): e² is its mean squared error there, s² the mean over all samples of
    how far its elements are from their own mean over the samples. So a constant grid that is added to a box, or boxes
    up to 640 beside scores up to 1, do not outweigh anything. s is at least 1 % of the part's size (a part that is
    constant in the original is judged by its error), 1e-6 of the output's largest value, and 1/256 where the output
    holds values between 0 and 1 only. An output's score is the mean over its parts, along the axis on which least is
    kept; a sample's is nine tenths of the mean over outputs and one tenth of the worst part, so that one dead column of
    hundreds costs as much at least.
    """
    judged = [_judge(name, outputs[name], reference[name]) for name in sorted(reference)]
    worst = min(judged, key=lambda output: output.kept[output.worst])
    mean = np.mean([output.scores for output in judged], axis=0)
    own = worst.of_part(worst.worst)
    scores = (1 - WORST_SHARE) * mean + WORST_SHARE * own
    return scores, WorstPart(kept=float(worst.kept[worst.worst]), text=worst.told())


@dataclass(frozen=True)
class _Output:
    """One output. `scores` [N] along the axis where least is kept; `kept` and `scale` (s²) [parts] along `axis`, on
    which its parts differ most, so that the worst of them is told from the others."""

    name: str
    values: NDArray[np.generic]
    reference: NDArray[np.generic]
    axis: int
    scores: Floats
    kept: Floats
    scale: Floats

    @property
    def worst(self) -> int:
        return int(np.argmin(self.kept))

    def of_part(self, part: int) -> Floats:
        """What one part keeps of each sample, [N]."""
        values, reference = (
            np.take(array, [part], axis=self.axis) for array in (self.values, self.reference)
        )
        return _kept(_part_errors(_squares(values, reference), self.axis), self.scale[part : part + 1])[:, 0]

    def told(self) -> str:
        first = last = self.worst
        limit = min(self.kept[first] + ALIKE, 1 - ALIKE)
        while first > 0 and self.kept[first - 1] <= limit:
            first -= 1
        while last + 1 < len(self.kept) and self.kept[last + 1] <= limit:
            last += 1
        values, reference = (
            np.take(array, range(first, last + 1), axis=self.axis) for array in (self.values, self.reference)
        )
        place = f"{first}" if first == last else f"{first} to {last}"
        what = f"{_span(values)} where the original has {_span(reference)}"
        share = 100 * max(0.0, float(self.kept[first : last + 1].mean()))
        return f"output {self.name}, axis {self.axis}, {place}: {share:.1f} % is kept ({what})"


def _judge(name: str, values: NDArray[np.generic], reference: NDArray[np.generic]) -> _Output:
    if reference.ndim == 1:
        values, reference = values[:, None], reference[:, None]
    scales = _scales(reference)
    rows: dict[int, list[Floats]] = {axis: [] for axis in scales}
    sums = {axis: np.zeros(len(scale)) for axis, scale in scales.items()}
    for part in _chunks(reference):
        squares = _squares(values[part], reference[part])
        for axis, scale in scales.items():
            kept = _kept(_part_errors(squares, axis), scale)
            rows[axis].append(kept.mean(axis=1))
            sums[axis] += kept.sum(axis=0)
    scores = {axis: np.concatenate(parts) for axis, parts in rows.items()}
    least = min(scores, key=lambda axis: float(scores[axis].mean()))
    kept_by_part = {axis: total / len(reference) for axis, total in sums.items()}
    axis = max(kept_by_part, key=lambda axis: float(np.ptp(kept_by_part[axis])))
    return _Output(name, values, reference, axis, scores[least], kept_by_part[axis], scales[axis])


def _scales(reference: NDArray[np.generic]) -> dict[int, Floats]:
    """Axis → s² of each of its parts."""
    count = len(reference)
    mean = sum(
        (_finite(reference[part]).sum(axis=0) for part in _chunks(reference)), np.zeros(reference.shape[1:])
    )
    mean = mean / count
    spread, low, high = np.zeros(reference.shape[1:]), np.inf, -np.inf
    for part in _chunks(reference):
        values = _finite(reference[part])
        spread += np.square(values - mean).sum(axis=0)
        low, high = min(low, float(values.min(initial=0))), max(high, float(values.max(initial=0)))
    floor = PROBABILITY if low >= 0 and high <= 1 else max(NOTHING * max(high, -low), 1e-12)
    scales = {}
    for axis in range(1, reference.ndim):
        others = tuple(other for other in range(mean.ndim) if other != axis - 1)
        varying, size = (spread / count).mean(axis=others), np.square(mean).mean(axis=others)
        scales[axis] = np.maximum(np.maximum(varying, CONSTANT**2 * size), floor**2)
    return scales


def _chunks(array: NDArray[np.generic]) -> Iterator[slice]:
    """Samples in parts that fit into memory: outputs are read from disk."""
    size = max(1, CHUNK_ELEMENTS // max(1, array[:1].size))
    for start in range(0, len(array), size):
        yield slice(start, start + size)


def _finite(values: NDArray[np.generic]) -> Floats:
    return np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _squares(values: NDArray[np.generic], reference: NDArray[np.generic]) -> Floats:
    """Squared errors; infinite where one of the two is not finite and the other is another."""
    a, b = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.square(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(squares), np.inf, squares))


def _part_errors(squares: Floats, axis: int) -> Floats:
    """e² by sample and part, [N, parts]."""
    others = tuple(other for other in range(1, squares.ndim) if other != axis)
    return np.asarray(squares.mean(axis=others), np.float64)


def _kept(errors: Floats, scale: Floats) -> Floats:
    return np.maximum(1.0 - errors / scale, -1.0)


def _span(values: NDArray[np.generic]) -> str:
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    if not finite.size:
        return "nothing finite"
    low, high = float(finite.min()), float(finite.max())
    return f"{low:.3g} everywhere" if low == high else f"{low:.3g} to {high:.3g}"
