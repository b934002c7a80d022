"""Artifacts that a command is given are opened and run in a worker, within the limits of a build.

They may come from anywhere: one that never ends, fills the memory or brings its runtime down ends with the worker, and
the command says so in one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from edgekit import errors
from edgekit.building.executor import DEFAULT_EXECUTOR, Task, make_executor
from edgekit.compare import BoardRun, BoardSide, CompareSamples, Comparison
from edgekit.errors import ModelError, StageError, UserError
from edgekit.types import Artifact, InputShape, LayerPart, Preprocess, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.devices.layers import LayerRequest

__all__ = [
    "CompareTask",
    "Examined",
    "RefusedInput",
    "compare_in_worker",
    "examined_or_refused",
    "layer_request",
    "opened_signature",
    "progress_of",
    "run_in_worker",
]

LONGEST_S = 900.0
PARTS = "parts"
PROGRESS = "progress.json"
COMPARISON = "comparison.json"  # a file, because the workers' protocol has no infinities


@dataclass(frozen=True)
class RefusedInput:
    """A UserError on its way out of a worker: the name of its class, and its parts."""

    kind: str
    came: str
    allowed: str
    remedy: str

    def error(self) -> UserError:
        """The same again."""
        kind = getattr(errors, self.kind, UserError)
        if not issubclass(kind, UserError) or kind is errors.MissingExtraError:
            kind = UserError
        error: UserError = kind(self.came, allowed=self.allowed, remedy=self.remedy)
        return error


@dataclass(frozen=True)
class Examined:
    """What a task has found; `refused` where a UserError came instead."""

    signature: Signature | None = None
    parts: tuple[LayerPart, ...] = ()
    sides: tuple[BoardSide | None, BoardSide | None] = (None, None)
    refused: RefusedInput | None = None


def examined_or_refused(look: Callable[[], Examined]) -> Examined:
    """What `look` gives, or the UserError that it raises."""
    try:
        return look()
    except UserError as error:
        came, allowed, remedy = error.parts if error.parts[0] else (str(error), "", "")
        return Examined(refused=RefusedInput(type(error).__name__, came, allowed, remedy))


def identity(artifact: Artifact) -> dict[str, Any]:
    """What an artifact is, wherever it lies."""
    return {
        "backend": artifact.backend,
        "entry": artifact.entry,
        "options": dict(artifact.options),
        "files": msgspec.to_builtins(artifact.files),
    }


@dataclass(frozen=True)
class OpenTask:
    """Opens an artifact as the main process is going to; an ONNX file is also counted, with `shapes` in it."""

    artifact: Artifact
    shapes: tuple[InputShape, ...] = ()

    stage: ClassVar[str] = "opening"
    answer_type: ClassVar[Any] = Examined
    timeout_s: ClassVar[float | None] = LONGEST_S

    def key_parts(self) -> dict[str, Any]:
        """What the answer depends on."""
        return {"artifact": identity(self.artifact), "shapes": [shape.text() for shape in self.shapes]}

    def perform(self, folder: Path) -> Examined:
        """See executor.Task."""
        return examined_or_refused(lambda: Examined(self._opened(folder)))

    def _opened(self, folder: Path) -> Signature:
        from edgekit.backends.opening import artifact_signature
        from edgekit.graph import onnx_cost
        from edgekit.graph.proto import read_model, write_model
        from edgekit.graph.sizes import fix_sizes
        from edgekit.runtimes import ONNX

        path = Path(self.artifact.folder) / self.artifact.entry
        if path.suffix == ONNX.suffix:
            model = read_model(path)
            if self.shapes:
                fix_sizes(model, path.name, self.shapes)
            write_model(model, folder / "sized.onnx")
            onnx_cost(folder / "sized.onnx")
        return artifact_signature(self.artifact)


@dataclass(frozen=True)
class PartsTask:
    """Writes an artifact's layers as files of their own into parts/. `feeds`: input name and .npy file, batch 1."""

    artifact: Artifact
    feeds: tuple[tuple[str, str], ...]

    stage: ClassVar[str] = "profile"
    answer_type: ClassVar[Any] = Examined
    timeout_s: ClassVar[float | None] = LONGEST_S

    def key_parts(self) -> dict[str, Any]:
        """What the answer depends on."""
        from edgekit.files import sha256_file

        return {
            "artifact": identity(self.artifact),
            "feeds": {name: sha256_file(path) for name, path in self.feeds},
        }

    def perform(self, folder: Path) -> Examined:
        """See executor.Task."""
        return examined_or_refused(lambda: Examined(parts=self._parts(folder / PARTS)))

    def _parts(self, folder: Path) -> tuple[LayerPart, ...]:
        import numpy as np

        from edgekit.backends import get_backend

        folder.mkdir()
        feeds = {name: np.load(path, allow_pickle=False) for name, path in self.feeds}
        return get_backend(self.artifact.backend).layer_parts(self.artifact, feeds, folder)


@dataclass(frozen=True)
class CompareTask:
    """Compares B with A, the reference, and writes what it found to comparison.json.

    `data`: as on the command line, None for random inputs; at most `count` samples of it, drawn by `seed`. `runs`: what
    devices gave for A and for B.
    """

    a: Artifact
    b: Artifact
    names: tuple[str, str]
    data: str | None
    preprocess: Preprocess
    count: int
    seed: int
    threads: int
    runs: tuple[BoardRun | None, BoardRun | None] = (None, None)

    stage: ClassVar[str] = "comparing"
    answer_type: ClassVar[Any] = Examined
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """Every field; what the data holds is not known here, so that no answer is kept."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {**fields, "a": identity(self.a), "b": identity(self.b)}

    def perform(self, folder: Path) -> Examined:
        """See executor.Task."""
        return examined_or_refused(lambda: self._compared(folder))

    def samples(self, folder: Path) -> CompareSamples | None:
        """What to compare on; None for random inputs. Raises DataError."""
        from edgekit.compare import samples_of

        if self.data is None:
            return None
        return samples_of(self.data, self.preprocess, self.count, self.seed, folder / "cache")

    def _compared(self, folder: Path) -> Examined:
        from edgekit.compare import compare_artifacts

        def tell(done: int, total: int) -> None:
            (folder / PROGRESS).write_text(json.dumps([done, total]))

        samples = self.samples(folder)
        comparison = compare_artifacts(
            self.a,
            self.b,
            samples,
            count=self.count,
            seed=self.seed,
            threads=self.threads,
            names=self.names,
            progress=tell,
            runs=self.runs,
        )
        (folder / COMPARISON).write_text(json.dumps(msgspec.to_builtins(comparison)))
        return Examined()


def opened_signature(artifact: Artifact, shapes: tuple[InputShape, ...], folder: Path) -> Signature:
    """What an artifact takes and gives. Raises ModelError, also where a worker's limits were passed."""
    signature = run_in_worker(
        OpenTask(artifact, shapes), folder, f"{artifact.entry} cannot be opened"
    ).signature
    assert signature is not None  # of one that was not refused
    return signature


def layer_request(
    artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]], runs: int, folder: Path
) -> LayerRequest:
    """What a device is asked of an artifact's layers. Raises ModelError, also where a worker's limits were passed."""
    import numpy as np

    from edgekit.devices.layers import LayerRequest

    files = []
    for index, (name, array) in enumerate(feeds.items()):
        path = folder / f"feed-{index}.npy"
        np.save(path, array, allow_pickle=False)
        files.append((name, str(path)))
    examined = run_in_worker(
        PartsTask(artifact, tuple(files)), folder, f"{artifact.entry} cannot be profiled layer by layer"
    )
    return LayerRequest(runs, examined.parts, folder / PARTS)


def compare_in_worker(task: CompareTask, folder: Path) -> Comparison:
    """The comparison. Raises UserError as compare_artifacts does, ModelError also where limits were passed."""
    run_in_worker(task, folder, f"{task.names[0]} and {task.names[1]} cannot be compared")
    return msgspec.convert(json.loads((folder / COMPARISON).read_text()), Comparison)


def progress_of(folder: Path) -> tuple[int, int] | None:
    """How many samples of how many a comparison that goes on in `folder` has done; None before the first."""
    with suppress(OSError, ValueError):
        done, total = json.loads((folder / PROGRESS).read_text())
        return done, total
    return None


def run_in_worker(task: Task[Examined], folder: Path, failed: str) -> Examined:
    with closing(make_executor(DEFAULT_EXECUTOR)) as executor:
        try:
            examined = executor.run(task, folder)
        except StageError as error:
            raise ModelError(f"{failed}: {error.cause}", remedy=error.remedy) from error
    if examined.refused is not None:
        raise examined.refused.error()
    return examined
