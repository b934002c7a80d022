"""Two artifacts of one network, tensor by tensor, on the same samples; memory does not grow with their number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends import get_backend, open_reader
from edgekit.compare.divergence import CEILINGS, first_divergence, lowest_inputs, wrong_places
from edgekit.compare.feeding import feed, pair_specs, ports_of, random_samples, whole_number_note
from edgekit.compare.hints import Remedies, layer_hints
from edgekit.compare.layouts import LAYOUTS, Layout, apply_layout, suspects_between
from edgekit.compare.matching import Match, correlation, match_tensors
from edgekit.compare.outcome import Comparison, LayerDifference, Side
from edgekit.compare.outputs import Outputs
from edgekit.compare.parts import PartSums, side_by_side
from edgekit.compare.remedies import remedies_for
from edgekit.compare.statistics import Accumulator
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import Reader, TensorFacts
    from edgekit.types import Artifact

    Arrays = tuple[NDArray[Any], ...]
    Look = Mapping[str, NDArray[np.float32]]

__all__ = ["CompareSamples", "compare_artifacts"]

FIRST = 2  # samples that tensors are matched on
DOUBTFUL, SURE = 0.9, 0.95  # correlations: below, other layouts are tried; from there on, one is told
EXPLAINED = 5  # of the worst layers get hints, beside the one where the artifacts part


@dataclass(frozen=True)
class CompareSamples:
    """What to compare on. `batches()` gives (one array [N, ...] per input of A, labels [N, ...] or None).

    Arrays are in the network's layout, or another in which their shapes fit. `description` is for people.
    """

    batches: Callable[[], Iterator[tuple[Arrays, NDArray[np.generic] | None]]]
    count: int
    description: str


def compare_artifacts(
    a: Artifact,
    b: Artifact,
    samples: CompareSamples | None = None,
    *,
    count: int = 32,
    seed: int = 0,
    threads: int = 1,
    names: tuple[str, str] = ("A", "B"),
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare B with A, the reference. Without `samples`, on `count` random ones.

    `progress` is told how many samples of how many are done. Raises ModelError where an artifact cannot be opened
    or the two are not one network, DataError where the samples do not fit.
    """
    with open_reader(a, threads) as left, open_reader(b, threads) as right:
        work = _Work(left, right, names)
        stream = _stream(work, samples, count, seed)
        total = samples.count if samples else count
        first = list(itertools.islice(stream, FIRST))
        if not first:
            raise DataError("there are no samples to compare on")
        looks = [work.look(arrays) for arrays, _ in first]
        pairs = work.matched(looks)
        done = 0
        for arrays, labels in itertools.chain(first, stream):
            look = looks[done] if done < len(looks) else work.look(arrays)
            pairs.add(*look)
            work.outputs.add(work.run(arrays), look, labels)
            done += 1
            if progress is not None:
                progress(done, total)
        notes = (*_elsewhere(names, (a, b)), *left.notes, *right.notes)
        inputs = (
            samples.description if samples else "random inputs: give --data for figures that mean something"
        )
        arithmetic = max(left.arithmetic, right.arithmetic, key=_coarseness)
        layers = pairs.layers(remedies_for(b.backend), arithmetic)
        matched_a, matched_b = {match.a for match in pairs.matches}, {match.b for match in pairs.matches}
        return Comparison(
            a=Side(names[0], a.backend, left.arithmetic, len(left.tensors)),
            b=Side(names[1], b.backend, right.arithmetic, len(right.tensors)),
            samples=done,
            inputs=inputs,
            layers=layers,
            unmatched_a=tuple(facts.name for facts in left.tensors if facts.name not in matched_a),
            unmatched_b=tuple(facts.name for facts in right.tensors if facts.name not in matched_b),
            parts_at=pairs.parts_at,
            outputs=work.outputs.result(arithmetic),
            accuracy=work.outputs.accuracy(),
            notes=(*notes, *work.doubts(first[0][0]), *work.outputs.notes(done)),
        )


def _elsewhere(names: Sequence[str], artifacts: Sequence[Artifact]) -> list[str]:
    """Artifacts of a runtime that is not here, and what stands for it."""
    notes = []
    for name, artifact in zip(names, artifacts, strict=True):
        host = get_backend(artifact.backend).on_host(artifact).backend
        if host != artifact.backend:
            notes.append(f"{name}: its graph as {host} computes it, not {artifact.backend}'s own kernels")
    return notes


def _coarseness(arithmetic: str) -> float:
    return -CEILINGS[arithmetic]


def _stream(
    work: _Work, samples: CompareSamples | None, count: int, seed: int
) -> Iterator[tuple[Arrays, NDArray[np.generic] | None]]:
    """One batch after another, as large as the network's own (1 where that is free)."""
    reference = work.left.signature
    if samples is None:
        for arrays in random_samples(reference, (work.ports[0], work.ports[1]), count, seed):
            yield arrays, None
        return
    size = next((spec.shape[0] for spec in reference.inputs if spec.shape), 1) or 1
    for arrays, labels in samples.batches():
        if len(arrays) != len(reference.inputs):
            raise DataError(
                f"{len(arrays)} arrays per sample", allowed=f"{len(reference.inputs)}, as the network takes"
            )
        for start in range(0, len(arrays[0]) - size + 1, size):
            part = slice(start, start + size)
            yield tuple(array[part] for array in arrays), None if labels is None else labels[part]


class _Work:
    """The two readers, and how samples get into them."""

    def __init__(self, left: Reader, right: Reader, names: tuple[str, str]) -> None:
        self.left, self.right = left, right
        self.ports = (ports_of(left.signature, left, names[0]), ports_of(left.signature, right, names[1]))
        specs = pair_specs(left.signature.outputs, right.signature.outputs, "output", names[1])
        outputs = [(left.signature.outputs[i].name, right.signature.outputs[j].name) for i, j in specs]
        self.outputs = Outputs(outputs, names)

    def look(self, arrays: Arrays) -> tuple[Look, Look]:
        return self.left.look(feed(self.ports[0], arrays)), self.right.look(feed(self.ports[1], arrays))

    def run(self, arrays: Arrays) -> tuple[Look, Look]:
        return self.left.run(feed(self.ports[0], arrays)), self.right.run(feed(self.ports[1], arrays))

    def matched(self, looks: Sequence[tuple[Look, Look]]) -> _Pairs:
        """The tensors' matches on these first looks."""
        arrays_a, arrays_b = (
            {
                name: np.concatenate([np.atleast_1d(look[side][name]) for look in looks])
                for name in looks[0][side]
            }
            for side in (0, 1)
        )
        matches = match_tensors(self.left.tensors, self.right.tensors, arrays_a, arrays_b)
        suspects = {match.a: _suspects(match, arrays_a[match.a], arrays_b[match.b]) for match in matches}
        answers = side_by_side(self.left.tensors, {spec.name for spec in self.left.signature.outputs})
        return _Pairs(self.left.tensors, self.right.tensors, matches, suspects, answers)

    def doubts(self, arrays: Arrays) -> list[str]:
        """What about the request itself may mislead."""
        doubts = {whole_number_note(ports, arrays) for ports in self.ports} - {""}
        if self.left.arithmetic == "int8" and self.right.arithmetic != "int8":
            doubts.add("A is quantized and B is not: hints take A for the truth, so give the float one first")
        return sorted(doubts)


def _suspects(match: Match, a: NDArray[Any], b: NDArray[Any]) -> tuple[tuple[Layout, float], ...]:
    """Layouts in which values agree that do not as they were matched."""
    if match.correlation >= DOUBTFUL:
        return ()
    aligned = apply_layout(b, match.layout, a.shape)
    agreements = [
        (layout, correlation(a, apply_layout(aligned, layout, a.shape)))
        for layout in suspects_between(a.shape)
    ]
    return tuple((layout, value) for layout, value in agreements if value >= SURE)


class _Pairs:
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
