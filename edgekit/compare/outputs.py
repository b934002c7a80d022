"""How far the final outputs of two artifacts agree, as they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.compare.hints import output_hints
from edgekit.compare.layouts import apply_layout, layouts_between, suspects_between
from edgekit.compare.matching import correlation
from edgekit.compare.outcome import OutputDifference
from edgekit.compare.parts import FEWEST_SAMPLES, PartSums
from edgekit.compare.statistics import BEST_DB, Accumulator
from edgekit.errors import DataError
from edgekit.measure import estimate_mean, holds_class_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Look = Mapping[str, NDArray[np.float32]]

__all__ = ["Outputs"]

SHOWN_DB = 60.0
"""Below it, what the shown tensors lead to is not quite what the artifact answers."""

KEPT = 16  # samples whose outputs are kept for hints
ALIKE = 0.999


class Outputs:
    """Sums over the outputs. `pairs` holds (A's output, B's output); `names` the two artifacts."""

    def __init__(self, pairs: Sequence[tuple[str, str]], names: tuple[str, str]) -> None:
        self._pairs, self._names = tuple(pairs), names
        self._sums = [Accumulator() for _ in pairs]
        self._parts = [PartSums() for _ in pairs]
        self._shown = (Accumulator(), Accumulator())
        self._agree: list[float] = []
        self._hits: tuple[list[float], list[float]] = ([], [])
        self._kept: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def add(
        self, ran: tuple[Look, Look], shown: tuple[Look, Look], labels: NDArray[np.generic] | None
    ) -> None:
        """One batch: what both artifacts answered, and what was shown of their tensors meanwhile."""
        for (name_a, name_b), sums, parts in zip(self._pairs, self._sums, self._parts, strict=True):
            left, right = ran[0][name_a], ran[1][name_b]
            layouts = layouts_between(left.shape, right.shape)
            if not layouts:
                raise DataError(
                    f"output {name_a} has shape {list(left.shape)} on one sample in A and {list(right.shape)} in B",
                    allowed="networks whose shapes do not depend on the values",
                )
            right = apply_layout(right, layouts[0], left.shape)
            sums.add(np.atleast_1d(left), np.atleast_1d(right))
            parts.add(left, right)
            if len(self._pairs) == 1 and left.ndim > 1 and holds_class_scores({name_a: left}):
                self._classes(left.reshape(len(left), -1), right.reshape(len(left), -1), labels)
            if len(self._pairs) == 1 and len(self._kept) < KEPT:
                self._kept.append((left, right))
        for side in (0, 1):
            for name in (pair[side] for pair in self._pairs):
                if name in shown[side]:
                    self._shown[side].add(ran[side][name].reshape(-1), shown[side][name].reshape(-1))

    def _classes(self, a: NDArray[Any], b: NDArray[Any], labels: NDArray[np.generic] | None) -> None:
        first_a, first_b = np.argmax(a, axis=1), np.argmax(b, axis=1)
        self._agree += (first_a == first_b).astype(float).tolist()
        if labels is not None and labels.shape == first_a.shape and labels.dtype.kind in "iu":
            self._hits[0].extend((first_a == labels).astype(float).tolist())
            self._hits[1].extend((first_b == labels).astype(float).tolist())

    def result(self, arithmetic: str) -> tuple[OutputDifference, ...]:
        """One entry per output, in A's order. `arithmetic` is the coarser one of the two artifacts."""
        agreement = estimate_mean(np.asarray(self._agree)) if self._agree else None
        differences = []
        for (name_a, name_b), sums, parts in zip(self._pairs, self._sums, self._parts, strict=True):
            difference = sums.result()
            softmax, suspects = self._ends(difference.sqnr_db)
            hints = output_hints(difference, softmax=softmax, suspects=suspects)
            part = parts.result(arithmetic)
            differences.append(OutputDifference(name_a, name_b, difference, agreement, hints, part))
        return tuple(differences)

    def accuracy(self) -> tuple[float, float] | None:
        """Share of right answers of A and of B, where there were labels."""
        if not self._hits[0]:
            return None
        return float(np.mean(self._hits[0])), float(np.mean(self._hits[1]))

    def notes(self, samples: int) -> list[str]:
        """Whether the shown tensors are those that lead to the answers, and what so few samples cannot show."""
        notes = []
        if samples < FEWEST_SAMPLES and any(sums.result().sqnr_db < BEST_DB for sums in self._sums):
            notes.append(
                f"fewer than {FEWEST_SAMPLES} samples: outputs are judged as wholes, and a channel that is lost "
                "beside larger ones is not seen"
            )
        for name, sums in zip(self._names, self._shown, strict=True):
            try:
                sqnr_db = sums.result().sqnr_db
            except ValueError:
                continue
            if sqnr_db < SHOWN_DB:
                notes.append(
                    f"{name}: with its tensors shown it answers a little differently ({sqnr_db:.0f} dB from the "
                    "artifact as it runs); the outputs' figures are of the latter"
                )
        return notes

    def _ends(self, sqnr_db: float) -> tuple[str, tuple[Any, ...]]:
        """The side that alone ends in a softmax, and layouts in which the outputs agree."""
        if not self._kept or sqnr_db > 20.0:
            return "", ()
        a, b = (np.concatenate([pair[side] for pair in self._kept]) for side in (0, 1))
        if self._agree:
            flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
            for side, plain, other in (("B", flat_a, flat_b), ("A", flat_b, flat_a)):
                is_softmax = _sums_to_one(other) and not _sums_to_one(plain)
                if is_softmax and correlation(_softmax(plain), other) >= ALIKE - 0.02:
                    return side, ()
        suspects = [
            (layout, correlation(a, apply_layout(b, layout, a.shape))) for layout in suspects_between(a.shape)
        ]
        return "", tuple((layout, value) for layout, value in suspects if value >= ALIKE)


def _sums_to_one(scores: NDArray[Any]) -> bool:
    return bool(np.allclose(scores.sum(axis=1), 1.0, atol=0.02))


def _softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.exp(np.asarray(scores, np.float64) - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)
