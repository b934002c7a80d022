"""Opening artifacts: which session a runtime's artifact gets."""

from typing import Dict, Optional

from ..tensorrt.library import INSTALL, LIBRARIES
from . import litert
from .base import BoardRuntime, RuntimeSession, import_first
from .onnxruntime import OnnxRuntimeSession
from .openvino import OpenVinoSession
from .tensorrt import build_engine_apart, open_engine

RUNTIMES: Dict[str, BoardRuntime] = {
    "onnxruntime": BoardRuntime(("onnxruntime",), "pip install onnxruntime", OnnxRuntimeSession),
    "openvino": BoardRuntime(("openvino",), "pip install openvino", OpenVinoSession),
    "litert": BoardRuntime(litert.MODULES, "pip install ai-edge-litert", litert.LiteRtSession),
    "tensorrt": BoardRuntime(LIBRARIES, INSTALL, open_engine, build_engine_apart),
}


def find_runtime(name: str) -> BoardRuntime:
    """The row of a runtime. Raises ValueError, with those that are known."""
    if name not in RUNTIMES:
        raise ValueError("unknown runtime %r; known: %s" % (name, ", ".join(sorted(RUNTIMES))))
    return RUNTIMES[name]


def import_runtime(name: str) -> None:
    """Import the runtime ahead, so that `load_ms` is the artifact's alone.

    Raises ValueError, and ImportError: with the line that installs the runtime where it is not there at all.
    """
    modules, install = find_runtime(name)[:2]
    try:
        import_first(modules)
    except ImportError as problem:
        if problem.name not in [module.split(".")[0] for module in modules]:
            raise  # it is there, but broken
        raise ImportError("%s is not installed: %s" % (name, install), name=problem.name) from None


def open_session(
    runtime: str, path: str, options: Optional[Dict[str, str]] = None, threads: int = 1
) -> RuntimeSession:
    """Load an artifact in this process. Raises ValueError on an unknown runtime, and what the runtime raises."""
    import_runtime(runtime)
    return find_runtime(runtime).open(str(path), dict(options or {}), threads)
