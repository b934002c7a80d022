"""The library TensorRT or TensorRT-RTX: loading it, its version, its messages."""

import importlib
import re
from typing import Any, List, Tuple

from ..runtimes import RUNTIMES

LIBRARIES = RUNTIMES["tensorrt"].modules


class EngineError(RuntimeError):
    """What stands in the way of an engine, in one line."""


def load_tensorrt(library: str = "") -> Any:
    """The module `tensorrt`, else `tensorrt_rtx`; or `library` alone. Raises ImportError that says what to install."""
    for name in (library,) if library else LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("%s is not installed: %s" % (library or "tensorrt", RUNTIMES["tensorrt"].install))


def version_of(trt: Any) -> Tuple[int, ...]:
    """(8, 2, 1, 8) of "8.2.1.8"."""
    return tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:4])


def is_rtx(trt: Any) -> bool:
    """Whether this is TensorRT-RTX, whose versions count from 1."""
    return str(trt.__name__).startswith("tensorrt_rtx")


def make_logger(trt: Any) -> Any:
    """A logger that keeps warnings and errors in `lines` instead of printing them."""

    class Lines(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.lines.append(" ".join(message.split()))

    return Lines()
