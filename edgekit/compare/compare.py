"""Two artifacts of one network, tensor by tensor, on the same samples; memory does not grow with their number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends import get_backend, open_reader
from edgekit.board.whole import refuse_unknown_ids
from edgekit.compare.board import BoardRun, BoardSide, fed_side, on_board
from edgekit.compare.divergence import CEILINGS
from edgekit.compare.feeding import (
    as_data_errors,
    feed,
    pair_specs,
    ports_of,
    random_samples,
    whole_number_note,
)
from edgekit.compare.matching import comparable, match_tensors
from edgekit.compare.outcome import Comparison, Side
from edgekit.compare.outputs import Outputs
from edgekit.compare.pairs import Pairs, suspects_of
from edgekit.compare.parts import side_by_side
from edgekit.compare.remedies import remedies_for
from edgekit.errors import DataError
from edgekit.graph.tokens import vocabularies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.tensors import Reader
    from edgekit.types import Artifact

    Arrays = tuple[NDArray[Any], ...]
    Look = Mapping[str, NDArray[np.float32]]

__all__ = ["CompareSamples", "compare_artifacts", "write_board_sides"]

FIRST = 2  # samples that tensors are matched on


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
    runs: tuple[BoardRun | None, BoardRun | None] = (None, None),
) -> Comparison:
    """Compare B with A, the reference. Without `samples`, on `count` random ones.

    `runs`: what devices gave for A and for B on these samples, None for what runs here. `progress` is told how many
    samples of how many are done. Raises ModelError where an artifact cannot be opened or the two are not one network,
    DataError where the samples do not fit.
    """
    with open_reader(a, threads) as here_a, open_reader(b, threads) as here_b:
        left, right = on_board(here_a, runs[0], names[0]), on_board(here_b, runs[1], names[1])
        looked = min((run.looks for run in runs if run is not None), default=None)
        work = _Work(left, right, names, vocabularies_of((a, b)))
        stream = _stream(work, samples, count, seed)
        total = samples.count if samples else count
        first = list(itertools.islice(stream, FIRST))
        if not first:
            raise DataError("there are no samples to compare on")
        looks = [work.look(arrays) for arrays, _ in first[:looked]] if looked != 0 else []
        pairs = work.matched(looks)
        done = 0
        for arrays, labels in itertools.chain(first, stream):
            look: tuple[Look, Look] = ({}, {})
            if looked is None or done < looked:
                look = looks[done] if done < len(looks) else work.look(arrays)
                pairs.add(*look)
            work.outputs.add(work.run(arrays), look, labels)
            done += 1
            if progress is not None:
                progress(done, total)
        notes = (*_elsewhere(names, (a, b), runs), *left.notes, *right.notes, *_few_looks(looked, done))
        inputs = (
            samples.description if samples else "random inputs: give --data for figures that mean something"
        )
        arithmetic = max(left.arithmetic, right.arithmetic, key=_coarseness)
        layers = pairs.layers(remedies_for(b.backend), arithmetic)
        matched_a, matched_b = {match.a for match in pairs.matches}, {match.b for match in pairs.matches}
        return Comparison(
            a=Side(names[0], a.backend, left.arithmetic, len(left.tensors), _where(runs[0])),
            b=Side(names[1], b.backend, right.arithmetic, len(right.tensors), _where(runs[1])),
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


def write_board_sides(
    a: Artifact,
    b: Artifact,
    samples: CompareSamples | None,
    folders: tuple[Path | None, Path | None],
    *,
    count: int,
    seed: int,
    names: tuple[str, str],
) -> tuple[BoardSide | None, BoardSide | None]:
    """Write what a device gets for A and for B into their folders, None for a side that runs here.

    Raises as `compare_artifacts` does.
    """
    sides: list[BoardSide | None] = []
    with open_reader(a) as left, open_reader(b) as right:
        work = _Work(left, right, names, vocabularies_of((a, b)))
        for artifact, reader, ports, folder in zip((a, b), (left, right), work.ports, folders, strict=True):
            if folder is None:
                sides.append(None)
                continue
            stream = _stream(work, samples, count, seed)
            fed = (feed(ports, arrays) for arrays, _ in stream)
            total = samples.count if samples else count
            shows = get_backend(artifact.backend).on_host(artifact).backend == artifact.backend
            sides.append(fed_side(reader, fed, total, folder, shows=shows))
    return sides[0], sides[1]


def _where(run: BoardRun | None) -> str:
    return "" if run is None else run.where


def _few_looks(looked: int | None, done: int) -> list[str]:
    if not looked or looked >= done:
        return []
    return [f"tensors between the layers were compared on the first {looked} of {done} samples"]


def _elsewhere(
    names: Sequence[str], artifacts: Sequence[Artifact], runs: Sequence[BoardRun | None]
) -> list[str]:
    """Artifacts of a runtime that is not here, and what stands for it."""
    notes = []
    for name, artifact, run in zip(names, artifacts, runs, strict=True):
        if run is not None:
            continue
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
        work.refuse_unknown_ids(arrays)
        for start in range(0, len(arrays[0]) - size + 1, size):
            part = slice(start, start + size)
            yield tuple(array[part] for array in arrays), None if labels is None else labels[part]


def vocabularies_of(artifacts: Sequence[Artifact]) -> list[Mapping[str, int]]:
    """Of each artifact: input → rows of the table that it picks from, as far as its file is ONNX."""
    paths = [Path(artifact.folder) / artifact.entry for artifact in artifacts]
    return [vocabularies(path) if path.suffix == ".onnx" else {} for path in paths]


class _Work:
    """The two readers, and how samples get into them."""

    def __init__(
        self, left: Reader, right: Reader, names: tuple[str, str], vocabularies: Sequence[Mapping[str, int]]
    ) -> None:
        self.left, self.right = left, right
        self.ports = (ports_of(left.signature, left, names[0]), ports_of(left.signature, right, names[1]))
        self._rows = {
            port.place: known[port.spec.name]
            for ports, known in zip(self.ports, vocabularies, strict=True)
            for port in ports
            if port.spec.name in known
        }
        specs = pair_specs(left.signature.outputs, right.signature.outputs, "output", names[1])
        outputs = [(left.signature.outputs[i].name, right.signature.outputs[j].name) for i, j in specs]
        self.outputs = Outputs(outputs, names)

    def refuse_unknown_ids(self, arrays: Arrays) -> None:
        """Raises DataError for a token id that the networks do not have: each runtime makes something else of it."""
        with as_data_errors():
            for place, spec in enumerate(self.left.signature.inputs):
                refuse_unknown_ids(spec.name, arrays[place], self._rows.get(place))

    def look(self, arrays: Arrays) -> tuple[Look, Look]:
        return self.left.look(feed(self.ports[0], arrays)), self.right.look(feed(self.ports[1], arrays))

    def run(self, arrays: Arrays) -> tuple[Look, Look]:
        return self.left.run(feed(self.ports[0], arrays)), self.right.run(feed(self.ports[1], arrays))

    def matched(self, looks: Sequence[tuple[Look, Look]]) -> Pairs:
        """The tensors' matches on these first looks; none where a device gave outputs only."""
        if not looks:
            return Pairs((), (), (), {}, ())
        arrays_a, arrays_b = (
            {
                name: np.concatenate([np.atleast_1d(look[side][name]) for look in looks])
                for name in looks[0][side]
            }
            for side in (0, 1)
        )
        matches = match_tensors(*comparable(self.left.tensors, self.right.tensors), arrays_a, arrays_b)
        suspects = {match.a: suspects_of(match, arrays_a[match.a], arrays_b[match.b]) for match in matches}
        answers = side_by_side(self.left.tensors, {spec.name for spec in self.left.signature.outputs})
        return Pairs(self.left.tensors, self.right.tensors, matches, suspects, answers)

    def doubts(self, arrays: Arrays) -> list[str]:
        """What about the request itself may mislead."""
        doubts = {whole_number_note(ports, arrays) for ports in self.ports} - {""}
        if self.left.arithmetic == "int8" and self.right.arithmetic != "int8":
            doubts.add("A is quantized and B is not: hints take A for the truth, so give the float one first")
        return sorted(doubts)
