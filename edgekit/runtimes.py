"""The runtimes: one row each, with all that the rest of edgekit knows of them. Nothing else knows their names.

To add one: a row here and in `board/runtimes.py`, `backends/NAME/`, `board/sessions/NAME.py`, and an extra in
pyproject.toml. Plain data: a row names its classes, and nothing is imported before it is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.types import BackendName, Precision, SparsityPattern

__all__ = [
    "ONNX",
    "RUNTIMES",
    "Installation",
    "ModelFile",
    "RuntimeRow",
    "SparseKernels",
    "near_runtimes",
]


ClassPlace = tuple[str, str]
"""Module and class."""


@dataclass(frozen=True)
class Installation:
    """Packages that an extra brings, as (distribution, module). `facts`: a script that prints a line on them."""

    name: str
    extra: str
    packages: tuple[tuple[str, str], ...]
    facts: str


@dataclass(frozen=True)
class ModelFile:
    """A kind of file that a runtime opens: by its suffix; `called`: in a sentence.

    `beside`: where its weights may lie, in the same folder; {name} is the file's name, {stem} the same without suffix.
    """

    suffix: str
    called: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class SparseKernels:
    """What a runtime does faster, or stores smaller, where weights are zero.

    `pattern`: None: any. `above`: the share of zeros beyond which. `precisions`: of the kernels. What the board has to
    have: `architecture`, `feature` of the CPU, `sparse_gpu`: sparse tensor cores; `board`: in words. `chained`:
    they run where layers follow each other as `graph.chains` has it. `stored`: the precision in which its files hold
    what is not zero alone; "": none.
    """

    precisions: tuple[Precision, ...]
    board: str
    pattern: SparsityPattern | None = None
    above: float = 0.0
    architecture: str = ""
    feature: str = ""
    sparse_gpu: bool = False
    chained: bool = False
    stored: Precision | Literal[""] = ""


@dataclass(frozen=True)
class RuntimeRow:
    """One runtime. What a board has to know of it, how it is installed there included, is in `board/runtimes.py`.

    `short`: in ids of candidates. `title`: in sentences. `package`: the distribution that brings it. `opens`: files it
    takes; of several runtimes that take a kind of file, the first of the table opens it. `backend`, `reader`: classes
    that satisfy `backends.base.Backend` and `backends.tensors.Reader` (no reader: it does not show what lies between
    its layers). `installations`: what makes its artifacts here comes first. `int8_recipe`: where its ladder of
    calibration recipes begins. `colour`: in plots, apart from the others with every common colour vision (Okabe and
    Ito, "Color Universal Design", 2008).

    `simulation`: options with which a quantized artifact is computed in float, every rounding included; None where
    it offers none. `float_options`: options with which a float file is computed in float32. `float_fact`: which of the
    facts of a session says in what float layers are computed. `dla_precisions`: what it runs on a DLA.
    `trained_recipe`: writes down a network that was trained for its integers; "" where none is.
    `linear_precisions`: what it has for linear layers alone. `sparse`: what zeros among weights are good for; None:
    nothing.
    """

    name: BackendName
    short: str
    title: str
    package: str
    backend: ClassPlace
    installations: tuple[Installation, ...]
    int8_recipe: str
    colour: str
    reader: ClassPlace | None = None
    opens: tuple[ModelFile, ...] = ()
    simulation: Mapping[str, str] | None = None
    float_options: Mapping[str, str] = field(default_factory=dict)
    float_fact: str = ""
    dla_precisions: tuple[Precision, ...] = ()
    trained_recipe: str = ""
    linear_precisions: tuple[Precision, ...] = ()
    sparse: SparseKernels | None = None

    @property
    def extra(self) -> str:
        """The extra that installs it: `pip install "edgekit[EXTRA]"`."""
        return self.installations[0].extra


ONNX = ModelFile(".onnx", ".onnx", ("{name}.data", "{name}_data", "{stem}.data"))

TRAINED = "int8-trained"

ONNXRUNTIME = RuntimeRow(
    name="onnxruntime",
    short="ort",
    title="ONNX Runtime",
    package="onnxruntime",
    opens=(ONNX,),
    backend=("edgekit.backends.onnxruntime.backend", "OnnxRuntimeBackend"),
    reader=("edgekit.backends.onnxruntime.tensors", "OnnxTensors"),
    installations=(
        Installation(
            "onnxruntime",
            "onnxruntime",
            (("onnxruntime", "onnxruntime"), ("onnx", "onnx"), ("onnxsim", "onnxsim")),
            """
import onnxruntime
print(", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()))
""",
        ),
    ),
    int8_recipe="int8-minmax",
    colour="#0072B2",
    trained_recipe=TRAINED,
    linear_precisions=("w8", "w4", "int8-dynamic"),
    simulation={"session.disable_quant_qdq": "1"},
)

OPENVINO = RuntimeRow(
    name="openvino",
    short="ov",
    title="OpenVINO",
    package="openvino",
    opens=(ModelFile(".xml", "OpenVINO's .xml", ("{stem}.bin",)), ONNX),
    backend=("edgekit.backends.openvino.backend", "OpenVinoBackend"),
    reader=("edgekit.backends.openvino.tensors", "OpenVinoTensors"),
    installations=(
        Installation(
            "openvino",
            "openvino",
            (("openvino", "openvino"), ("nncf", "nncf"), ("onnx", "onnx")),
            """
import openvino
print("devices: " + ", ".join(openvino.Core().available_devices))
""",
        ),
    ),
    int8_recipe="int8-nncf-mse",
    linear_precisions=("w4",),
    colour="#D55E00",
    trained_recipe=TRAINED,
    # A property of its CPU plugin (src/plugins/intel_cpu/src/config.cpp; seen in 2026.4.1).
    simulation={"LP_TRANSFORMS_MODE": "NO"},
    sparse=SparseKernels(  # docs.openvino.ai, "CPU Device", "Sparse weights decompression"
        precisions=("int8",),
        board="a CPU with AMX, and of INT8 linear layers alone",
        feature="amx_int8",
    ),
    # Without a hint it computes float networks in bf16 where the CPU has it (docs.openvino.ai, "Precision Control").
    float_options={"INFERENCE_PRECISION_HINT": "f32"},
    float_fact="INFERENCE_PRECISION_HINT",
)

LITERT = RuntimeRow(
    name="litert",
    short="litert",
    title="LiteRT",
    package="ai-edge-litert",
    opens=(ModelFile(".tflite", ".tflite"),),
    backend=("edgekit.backends.litert.backend", "LiteRtBackend"),
    reader=("edgekit.backends.litert.tensors", "LiteRtTensors"),
    installations=(
        Installation(
            "litert",
            "tflite",
            (
                ("ai-edge-litert", "ai_edge_litert"),
                ("ai-edge-quantizer", "ai_edge_quantizer"),
                ("litert-torch", "litert_torch"),
                ("torch", "torch"),
                ("onnx", "onnx"),
                ("onnxruntime", "onnxruntime"),
            ),
            """
from ai_edge_litert.interpreter import Interpreter
print("interpreter with XNNPACK; convert, quantize and run")
""",
        ),
    ),
    int8_recipe="int8-minmax",
    colour="#009E73",
    trained_recipe=TRAINED,
    # XNNPACK, xnn_subgraph_rewrite_for_nchw in src/subgraph.c, xnn_is_chw_compatible_config in hardware-config.h
    sparse=SparseKernels(
        precisions=("fp32",),
        board="an Arm CPU (on x86 with AVX XNNPACK computes them as if they were dense)",
        above=2 / 3,
        architecture="aarch64",
        chained=True,
        stored="fp32",
    ),
)

TENSORRT = RuntimeRow(
    name="tensorrt",
    short="trt",
    title="TensorRT",
    package="tensorrt",
    backend=("edgekit.backends.tensorrt.backend", "TensorRtBackend"),
    reader=("edgekit.backends.onnxruntime.tensors", "OnnxTensors"),  # its artifact is an ONNX file
    installations=(
        Installation(
            "tensorrt",
            "tensorrt",
            (("onnx", "onnx"), ("onnxruntime", "onnxruntime")),
            """
from edgekit.board.tensorrt.cuda import gpu
from edgekit.board.tensorrt.library import load_tensorrt
try:
    told = f"TensorRT {load_tensorrt('tensorrt').__version__}"
except ImportError:
    told = "no TensorRT of its own: networks are prepared here, engines are built on the board"
print(told + (f"; {gpu()['name']}, {gpu()['sm']}" if gpu() else "; no NVIDIA GPU"))
""",
        ),
        Installation(
            "tensorrt-rtx",
            "tensorrt-rtx",
            (("tensorrt-rtx-cu13", "tensorrt_rtx"),),
            """
import tensorrt_rtx
chips = [name for name in tensorrt_rtx.ComputeCapability.__members__ if name.startswith("SM")]
print("compiles ahead of time for " + ", ".join(chips))
""",
        ),
    ),
    int8_recipe="int8-minmax",
    colour="#AA4499",
    dla_precisions=("fp16", "int8"),  # NVIDIA TensorRT documentation, "Working with DLA"
    sparse=SparseKernels(  # NVIDIA TensorRT documentation, "Structured Sparsity"
        precisions=("fp16", "int8"),
        board="a GPU with sparse tensor cores (Ampere and later)",
        pattern="2:4",
        sparse_gpu=True,
    ),
)

RUNTIMES: Mapping[BackendName, RuntimeRow] = {
    row.name: row for row in (ONNXRUNTIME, OPENVINO, LITERT, TENSORRT)
}
"""Name → row."""


def near_runtimes(name: str) -> str:
    """ "did you mean openvino?" for a name that no runtime has, or "" where none is near."""
    near = difflib.get_close_matches(name.lower(), RUNTIMES, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else ""
