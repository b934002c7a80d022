"""A float .tflite network opened so that it keeps every tensor: for names and for ranges."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.board.hush import without_talk
from edgekit.errors import MissingExtraError, StageError, in_one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Watched", "open_all"]


@dataclass(frozen=True)
class Watched:
    """`tensors` are the indices of the floats that the network takes and computes, its inputs first."""

    interpreter: Any
    tensors: tuple[int, ...]

    def look(self, feeds: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]]:
        """One sample, one array per input in the file's layout; gives tensor index → its value (copies).

        Arrays are brought to the file's types: it has int32 where the network has int64.
        """
        for details, feed in zip(self.interpreter.get_input_details(), feeds, strict=True):
            self.interpreter.set_tensor(int(details["index"]), np.ascontiguousarray(feed, details["dtype"]))
        self.interpreter.invoke()
        return {index: self.interpreter.get_tensor(index) for index in self.tensors}

    def results(self) -> dict[int, NDArray[Any]]:
        """Output index → what the last `look` gave, integers too."""
        indices = [int(details["index"]) for details in self.interpreter.get_output_details()]
        return {index: self.interpreter.get_tensor(index) for index in indices}


@contextmanager
def open_all(path: Path, threads: int = 1) -> Iterator[Watched]:
    """Open the file. XNNPACK stays on, as `experimental_preserve_all_tensors` shows its tensors too.

    Raises StageError for a file that LiteRT cannot run.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    with without_talk(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the memory that all tensors take
        try:
            interpreter = Interpreter(str(path), num_threads=threads, experimental_preserve_all_tensors=True)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise StageError(
                "export",
                f"LiteRT cannot run what litert-torch made of the network: {in_one_line(error)}",
                "write the operation otherwise, or build for another runtime",
            ) from error
    inputs = tuple(int(details["index"]) for details in interpreter.get_input_details())
    # There is no public list of operations; this is the one that AI Edge Quantizer reads too.
    ops = interpreter._get_ops_details()
    made = [int(index) for op in ops if op["op_name"] != "DELEGATE" for index in op["outputs"]]
    floats = {
        int(details["index"])
        for details in interpreter.get_tensor_details()
        if details["dtype"].__name__ == "float32"
    }
    tensors = tuple(dict.fromkeys(index for index in (*inputs, *made) if index in floats))
    yield Watched(interpreter, tensors)
