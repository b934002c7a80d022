"""Files of models are opened in a worker first: what a stranger's file does there ends with the worker.

A network that never ends or fills the memory, and a library that dies of a damaged file, are told in one line. The main
process opens only what a worker has opened, run and written within the limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit.errors import ModelError, StageError, UserError
from edgekit.files import sha256_file
from edgekit.types import InputShape, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.building.executor import Executor

__all__ = ["read_network", "read_weights"]

LONGEST_S = 900.0
IMPORTED = "network.onnx"


@dataclass(frozen=True)
class Reading:
    """The network's signature, if it is one; `refused`: the parts of a UserError."""

    signature: Signature | None = None
    refused: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class ReadTask:
    """Opens a file as the main process is going to; a network is written to network.onnx, batch 1.

    `examples`: .npy files [N, ...], samples for each input of a .pt2. `shapes`: of inputs, for sizes that an .onnx
    leaves open. `digest`: the file's SHA-256 when it was located.
    """

    kind: Literal["onnx", "pt2", "weights"]
    path: str
    digest: str
    examples: tuple[str, ...] = ()
    shapes: tuple[InputShape, ...] = ()

    stage: ClassVar[str] = "reading"
    answer_type: ClassVar[Any] = Reading
    timeout_s: ClassVar[float | None] = LONGEST_S

    def key_parts(self) -> dict[str, Any]:
        """What the answer depends on."""
        return {
            "kind": self.kind,
            "file": self.digest,
            "examples": [sha256_file(path) for path in self.examples],
            "shapes": [shape.text() for shape in self.shapes],
        }

    def perform(self, folder: Path) -> Reading:
        """See executor.Task."""
        try:
            return Reading(self._opened(folder / IMPORTED))
        except UserError as error:
            return Reading(refused=error.parts)

    def _opened(self, destination: Path) -> Signature | None:
        import numpy as np

        from edgekit.graph import onnx_cost
        from edgekit.model import ModelRef, check_weights, export_onnx, import_onnx, load_module

        if self.kind == "weights":
            check_weights(Path(self.path))
            return None
        if self.kind == "onnx":
            signature = import_onnx(self.path, destination, self.shapes)
        else:
            module = load_module(ModelRef("pt2", self.path, None, self.digest))
            example = tuple(np.load(path, allow_pickle=False) for path in self.examples)
            signature = export_onnx(module, example, destination)
        onnx_cost(destination)  # the main process is going to ask for it
        return signature


def read_network(
    executor: Executor,
    kind: Literal["onnx", "pt2"],
    path: Path,
    digest: str,
    examples: tuple[NDArray[np.generic], ...],
    folder: Path,
    shapes: tuple[InputShape, ...] = (),
) -> Signature:
    """The network of a file as `folder`/network.onnx. Raises ModelError, also where a worker's limits were passed."""
    import numpy as np

    files = []
    for index, array in enumerate(examples if kind == "pt2" else ()):
        files.append(folder / f"example{index}.npy")
        np.save(files[-1], array)
    try:
        task = ReadTask(kind, str(path), digest, tuple(map(str, files)), shapes)
        signature = _read(executor, task, folder).signature
        assert signature is not None  # of a network that was not refused
        return signature
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def read_weights(executor: Executor, path: Path) -> None:
    """Raises ModelError for a file of weights that a worker could not read within its limits."""
    _read(executor, ReadTask("weights", str(path), sha256_file(path)), path.parent)


def _read(executor: Executor, task: ReadTask, folder: Path) -> Reading:
    try:
        reading = executor.run(task, folder)
    except StageError as error:
        raise ModelError(
            f"{task.path} cannot be read: {error.cause}",
            remedy=error.remedy,
        ) from error
    if reading.refused is not None:
        came, allowed, remedy = reading.refused
        raise ModelError(came, allowed=allowed, remedy=remedy)
    return reading
