"""How much of what the original's outputs say is kept, part by part, where there are no labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
from edgekit.types import WorstPart

__all__ = ["kept_variation"]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]

CHUNK_ELEMENTS = 4 << 20
WORST_SHARE = 0.1  # of the score is the worst part's own


def kept_variation(outputs: Outputs, reference: Outputs) -> tuple[Floats, WorstPart]:
    """Scores [N], 1 for equal outputs, and the part that suffers most. `outputs`, `reference`: name → [N, ...].

    A part keeps 1 - e² / s² of a sample (R², the coefficient of determination, cut off at -1): e² is its mean squared
    error there, s² its scale (`part_scales`), so that boxes up to 640 beside scores up to 1 do not outweigh anything.
    An output's score is the mean over its parts, along the axis on which least is kept; a sample's is nine tenths of
    the mean over outputs and one tenth of the worst part, so that one dead column of hundreds costs as much at least.
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
        return _kept(axis_means(squared_errors(values, reference), self.axis), self.scale[part : part + 1])[
            :, 0
        ]

    def told(self) -> str:
        first, last = neighbours(self.kept, self.worst)
        values, reference = (
            _span(np.take(array, range(first, last + 1), axis=self.axis))
            for array in (self.values, self.reference)
        )
        seen = f"{values} where the original has {reference}"
        return f"output {self.name}, {part_text(self.kept, self.axis, (first, last), seen)}"


def _judge(name: str, values: NDArray[np.generic], reference: NDArray[np.generic]) -> _Output:
    if reference.ndim == 1:
        values, reference = values[:, None], reference[:, None]
    scales = _scales(reference)
    rows: dict[int, list[Floats]] = {axis: [] for axis in scales}
    sums = {axis: np.zeros(len(scale)) for axis, scale in scales.items()}
    for part in _chunks(reference):
        squares = squared_errors(values[part], reference[part])
        for axis, scale in scales.items():
            kept = _kept(axis_means(squares, axis), scale)
            rows[axis].append(kept.mean(axis=1))
            sums[axis] += kept.sum(axis=0)
    scores = {axis: np.concatenate(parts) for axis, parts in rows.items()}
    least = min(scores, key=lambda axis: float(scores[axis].mean()))
    kept_by_part = {axis: total / len(reference) for axis, total in sums.items()}
    axis = telling_axis(kept_by_part)
    return _Output(name, values, reference, axis, scores[least], kept_by_part[axis], scales[axis])


def _scales(reference: NDArray[np.generic]) -> dict[int, Floats]:
    """Axis → s² of each of its parts."""
    count = len(reference)
    mean = sum(
        (finite(reference[part]).sum(axis=0) for part in _chunks(reference)), np.zeros(reference.shape[1:])
    )
    mean = mean / count
    spread, low, high = np.zeros(reference.shape[1:]), np.inf, -np.inf
    for part in _chunks(reference):
        values = finite(reference[part])
        spread += np.square(values - mean).sum(axis=0)
        low, high = min(low, float(values.min(initial=0))), max(high, float(values.max(initial=0)))
    return part_scales(mean, spread / count, low, high)


def _chunks(array: NDArray[np.generic]) -> Iterator[slice]:
    """Samples in parts that fit into memory: outputs are read from disk."""
    size = max(1, CHUNK_ELEMENTS // max(1, array[:1].size))
    for start in range(0, len(array), size):
        yield slice(start, start + size)


def _kept(errors: Floats, scale: Floats) -> Floats:
    return np.maximum(1.0 - errors / scale, -1.0)


def _span(values: NDArray[np.generic]) -> str:
    known = np.asarray(values, np.float64)[np.isfinite(values)]
    return ends_text(float(known.min(initial=np.inf)), float(known.max(initial=-np.inf)))
