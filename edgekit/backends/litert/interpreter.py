"""A float .tflite network opened so that it keeps every tensor: for names and for ranges."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.board.hush import without_talk
from edgekit.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Watched", "open_all"]


@dataclass(frozen=True)
class Watched:
    """`tensors` are the indices of what the network computes, its inputs first."""

    interpreter: Any
    inputs: tuple[int, ...]
    tensors: tuple[int, ...]

    def look(self, feeds: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]]:
        """One sample, one array per input in the file's layout; gives tensor index → its value (copies)."""
        for index, feed in zip(self.inputs, feeds, strict=True):
            self.interpreter.set_tensor(index, feed)
        self.interpreter.invoke()
        return {index: self.interpreter.get_tensor(index) for index in self.tensors}


@contextmanager
def open_all(path: Path, threads: int = 1) -> Iterator[Watched]:
    """Open the file. XNNPACK stays on, as `experimental_preserve_all_tensors` shows its tensors too."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    with without_talk(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the memory that all tensors take
        interpreter = Interpreter(str(path), num_threads=threads, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
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
    yield Watched(interpreter, inputs, tensors)
