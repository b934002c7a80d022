"""Opening artifacts: which session a runtime's artifact gets."""

from typing import Dict, Optional

from ..tensorrt.library import INSTALL, LIBRARIES
from . import litert
from .base import Runtime, Session, import_first
from .onnxruntime import OnnxRuntimeSession
from .openvino import OpenVinoSession
from .tensorrt import build_engine_apart, open_engine

RUNTIMES: Dict[str, Runtime] = {
    "onnxruntime": Runtime(("onnxruntime",), "pip install onnxruntime", OnnxRuntimeSession),
    "openvino": Runtime(("openvino",), "pip install openvino", OpenVinoSession),
    "litert": Runtime(litert.MODULES, "pip install ai-edge-litert", litert.LiteRtSession),
    "tensorrt": Runtime(LIBRARIES, INSTALL, open_engine, build_engine_apart),
}


def find_runtime(name: str) -> Runtime:
    """The row of a runtime. Raises ValueError, with those that are known."""
    if name not in RUNTIMES:
        raise ValueError("unknown runtime %r; known: %s" % (name, ", ".join(sorted(RUNTIMES))))
    return RUNTIMES[name]


def import_runtime(name: str) -> None:
    """Import the runtime ahead, so that `load_ms` is the artifact's alone. Raises ValueError, ImportError."""
    import_first(find_runtime(name).modules)


def open_session(
    runtime: str, path: str, options: Optional[Dict[str, str]] = None, threads: int = 1
) -> Session:
    """Load an artifact in this process. Raises ValueError on an unknown runtime, and what the runtime raises."""
    import_runtime(runtime)
    return find_runtime(runtime).open(str(path), dict(options or {}), threads)
