"""An ONNX file run as it is, whatever a network is built for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError

if TYPE_CHECKING:
    from edgekit.board.sessions.onnxruntime import OnnxRuntimeSession

__all__ = ["open_file"]


def open_file(path: Path, threads: int) -> OnnxRuntimeSession:
    """A session of the file. Raises MissingExtraError without the library, and what opening it raises."""
    from edgekit.board.sessions.onnxruntime import OnnxRuntimeSession

    try:
        return OnnxRuntimeSession(str(path), {}, threads)
    except ImportError as problem:
        raise MissingExtraError("onnxruntime", "onnxruntime") from problem
