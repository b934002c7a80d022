"""The runtimes of a board: one row each, plain data. What a row names is loaded when an artifact is opened.

To add one: a row here and its session in sessions/.
"""

from importlib.util import find_spec
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

ON_A_JETSON = (
    "on a Jetson it comes with JetPack (use the system's python3, or a virtual environment made with "
    "--system-site-packages); for RTX GPUs: pip install tensorrt_rtx_cu13"
)


class BoardRuntime(NamedTuple):
    """`modules`: the first that is there is imported before loading is timed. `packages`: whose versions are told.

    `install` says how it comes to the board. `session`: a module of sessions/ and what in it opens an artifact,
    (path, options, threads) -> RuntimeSession; `prepare`: what in that module is done once to an artifact before it is
    loaded, (path, options). `profiling`: options that turn its profiler on; {scratch} in them is a folder.
    """

    modules: Tuple[str, ...]
    packages: Tuple[str, ...]
    install: str
    session: Tuple[str, str]
    prepare: Optional[str] = None
    profiling: Mapping[str, str] = {}


RUNTIMES: Dict[str, BoardRuntime] = {
    "onnxruntime": BoardRuntime(
        ("onnxruntime",),
        ("onnxruntime",),
        "pip install onnxruntime",
        ("onnxruntime", "OnnxRuntimeSession"),
        profiling={"enable_profiling": "1", "profile_file_prefix": "{scratch}/profile"},
    ),
    "openvino": BoardRuntime(
        ("openvino",),
        ("openvino",),
        "pip install openvino",
        ("openvino", "OpenVinoSession"),
        profiling={"PERF_COUNT": "YES"},
    ),
    "litert": BoardRuntime(
        ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"),  # the second: what old systems have
        ("ai-edge-litert", "tflite-runtime"),
        "pip install ai-edge-litert",
        ("litert", "LiteRtSession"),
    ),
    "tensorrt": BoardRuntime(
        ("tensorrt", "tensorrt_rtx"),
        ("tensorrt", "tensorrt-rtx-cu13"),
        ON_A_JETSON,
        ("tensorrt", "open_engine"),
        "build_engine_apart",
    ),
}


def find_runtime(name: str) -> BoardRuntime:
    """The row of a runtime. Raises ValueError, with those that are known."""
    if name not in RUNTIMES:
        raise ValueError("unknown runtime %r; known: %s" % (name, ", ".join(sorted(RUNTIMES))))
    return RUNTIMES[name]


def importable(name: str) -> bool:
    """Whether one of the runtime's packages is there; nothing is imported. Raises ValueError."""
    return any(find_spec(module.split(".")[0]) is not None for module in find_runtime(name).modules)


def importable_runtimes() -> List[str]:
    """Those that this Python can import."""
    return [name for name in RUNTIMES if importable(name)]
