"""The tensors that two artifacts have in common, and what differs between them over all samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.compare.divergence import CEILINGS, first_divergence, lowest_inputs, wrong_places
from edgekit.compare.hints import Remedies, layer_hints
from edgekit.compare.layouts import LAYOUTS, Layout, apply_layout, suspects_between
from edgekit.compare.matching import Match, correlation
from edgekit.compare.outcome import LayerDifference
from edgekit.compare.parts import PartSums
from edgekit.compare.statistics import Accumulator
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import TensorFacts

    Look = Mapping[str, NDArray[np.float32]]

__all__ = ["Pairs", "suspects_of"]

DOUBTFUL, SURE = 0.9, 0.95  # correlations: below, other layouts are tried; from there on, one is told
EXPLAINED = 5  # of the worst layers get hints, beside the one where the artifacts part


def suspects_of(match: Match, a: NDArray[Any], b: NDArray[Any]) -> tuple[tuple[Layout, float], ...]:
    """Layouts in which values agree that do not as they were matched."""
    if match.correlation >= DOUBTFUL:
        return ()
    aligned = apply_layout(b, match.layout, a.shape)
    agreements = [
        (layout, correlation(a, apply_layout(aligned, layout, a.shape)))
        for layout in suspects_between(a.shape)
    ]
    return tuple((layout, value) for layout, value in agreements if value >= SURE)


class Pairs:
    """Accumulators of all matched tensors."""

    def __init__(
        self,
        a: Sequence[TensorFacts],
        b: Sequence[TensorFacts],
        matches: Sequence[Match],
        suspects: Mapping[str, tuple[tuple[Layout, float], ...]],
        answers: Collection[str],
    ) -> None:
        self.facts_a, self.facts_b = {facts.name: facts for facts in a}, {facts.name: facts for facts in b}
        self.matches, self.suspects = tuple(matches), suspects
        self._sums = [Accumulator(self.facts_b[match.b].grid) for match in matches]
        self._parts = {match.a: PartSums() for match in matches if match.a in answers}
        self.parts_at: str | None = None

    def add(self, look_a: Look, look_b: Look) -> None:
        for match, sums in zip(self.matches, self._sums, strict=True):
            values = look_a[match.a]
            other = apply_layout(look_b[match.b], match.layout, values.shape)
            if other.shape != values.shape:
                raise DataError(
                    f"{match.a} has shape {list(values.shape)} on one sample in A and {list(other.shape)} in B",
                    allowed="networks whose shapes do not depend on the values",
                )
            sums.add(values, other)
            if match.a in self._parts:
                self._parts[match.a].add(values, other)

    def layers(self, remedies: Remedies, arithmetic: str) -> tuple[LayerDifference, ...]:
        """All pairs in A's order, those worth it with hints. Drops wrong matches, sets `parts_at`."""
        wrong = wrong_places(tuple(self.facts_a.values()), self._all(), arithmetic)
        kept = [
            (match, sums)
            for match, sums in zip(self.matches, self._sums, strict=True)
            if match.a not in wrong
        ]
        self.matches, self._sums = tuple(match for match, _ in kept), [sums for _, sums in kept]
        layers = tuple(self._judged(layer, arithmetic) for layer in self._all())
        self.parts_at = first_divergence(layers, arithmetic)
        ceiling = CEILINGS[arithmetic]
        worst = sorted((layer for layer in layers if layer.difference.sqnr_db < ceiling), key=_sqnr)[
            :EXPLAINED
        ]
        explained = {layer.name for layer in worst} | {self.parts_at}
        return tuple(
            self._explained(layer, remedies) if layer.name in explained else layer for layer in layers
        )

    def _all(self) -> tuple[LayerDifference, ...]:
        """All pairs in A's order, without hints."""
        results = {match.a: sums.result() for match, sums in zip(self.matches, self._sums, strict=True)}
        sqnr = {name: result.sqnr_db for name, result in results.items()}
        before = lowest_inputs(tuple(self.facts_a.values()), sqnr)
        return tuple(
            LayerDifference(
                name=match.a,
                name_b=match.b,
                layer=self.facts_a[match.a].layer,
                op=self.facts_a[match.a].op,
                matched=match.how,
                correlation=match.correlation,
                layout=LAYOUTS[match.layout],
                difference=results[match.a],
                inputs_db=before[match.a],
                grid=self.facts_b[match.b].grid,
            )
            for match in self.matches
        )

    def _judged(self, layer: LayerDifference, arithmetic: str) -> LayerDifference:
        parts = self._parts.get(layer.name)
        return layer if parts is None else replace(layer, part=parts.result(arithmetic))

    def _explained(self, layer: LayerDifference, remedies: Remedies) -> LayerDifference:
        hints = layer_hints(
            layer.difference,
            self.facts_a[layer.name],
            self.facts_b[layer.name_b],
            inputs_db=layer.inputs_db,
            suspects=self.suspects[layer.name],
            part=layer.part,
            remedies=remedies,
            diverges=layer.name == self.parts_at,
        )
        return replace(layer, hints=hints)


def _sqnr(layer: LayerDifference) -> float:
    return layer.difference.sqnr_db
