"""What a comparison of two artifacts found. Plain values, fit for JSON."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.backends.tensors import Grid
from edgekit.compare.divergence import LOST_DB
from edgekit.compare.matching import How
from edgekit.compare.parts import PartDifference
from edgekit.compare.statistics import Difference
from edgekit.types import BackendName, Estimate

__all__ = ["Comparison", "LayerDifference", "OutputDifference", "Side"]


@dataclass(frozen=True)
class Side:
    """One of the two artifacts. `tensors` is how many it shows, `arithmetic` the coarsest that it computes in."""

    name: str
    runtime: BackendName
    arithmetic: str
    tensors: int


@dataclass(frozen=True)
class LayerDifference:
    """One tensor of A and the one of B that it matches.

    `layer` is A's operation that computes it. `inputs_db` is the lowest SQNR among the matched tensors that it is
    computed from: what is missing from there to its own arose here. `layout` says how B's array became A's.
    `grid` is that of B's tensor. `hints` follow from what was measured. `part` is the worst channel or column of a
    tensor that reaches an output as it is; None of all others, or where it is not known (`PartSums.result`).
    """

    name: str
    name_b: str
    layer: str
    op: str
    matched: How
    correlation: float
    layout: str
    difference: Difference
    inputs_db: float | None
    grid: Grid | None
    hints: tuple[str, ...] = ()
    part: PartDifference | None = None


@dataclass(frozen=True)
class OutputDifference:
    """One output, from the artifacts as they run. `agreement` is the share of samples with the same class first.

    `part` is its worst channel or column, as in `LayerDifference`.
    """

    name: str
    name_b: str
    difference: Difference
    agreement: Estimate | None
    hints: tuple[str, ...] = ()
    part: PartDifference | None = None

    @property
    def lost(self) -> bool:
        """Whether the output, or a part of it, no longer follows A's."""
        return self.difference.sqnr_db < LOST_DB or (self.part is not None and self.part.lost)


@dataclass(frozen=True)
class Comparison:
    """`layers` are in A's graph order. `parts_at` names the first of them where the two part, None: nowhere.

    `unmatched_a` and `unmatched_b` are tensors without a counterpart. `accuracy` holds A's and B's share of right
    answers where there are labels.
    """

    a: Side
    b: Side
    samples: int
    inputs: str
    layers: tuple[LayerDifference, ...]
    unmatched_a: tuple[str, ...]
    unmatched_b: tuple[str, ...]
    parts_at: str | None
    outputs: tuple[OutputDifference, ...]
    accuracy: tuple[float, float] | None
    notes: tuple[str, ...]

    def worst(self) -> tuple[LayerDifference, ...]:
        """Lowest SQNR first; of equals the first in graph order."""
        return tuple(sorted(self.layers, key=lambda layer: layer.difference.sqnr_db))

    def first_divergence(self) -> LayerDifference | None:
        """The layer that `parts_at` names."""
        return next((layer for layer in self.layers if layer.name == self.parts_at), None)
