"""The made-up parts of `example_result`: what it tried, where, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.result import LayerLoss, RunInfo, VariantResult, WaterfallStep
from edgekit.runtimes import RUNTIMES
from edgekit.types import (
    BackendName,
    Environment,
    Failure,
    Precision,
    Preprocess,
    Rejection,
    SensorReading,
    VariantKind,
)

__all__ = [
    "DRAFTS",
    "ENVIRONMENT",
    "FAILURES",
    "REJECTED",
    "RUN",
    "TEST_SAMPLES",
    "VALIDATION_SAMPLES",
    "VARIANTS",
    "WATERFALL",
    "Draft",
]

VALIDATION_SAMPLES = 4000
TEST_SAMPLES = 10000


@dataclass(frozen=True)
class Draft:
    """One made-up candidate: `time_ms` is its typical latency, `drop` a fraction."""

    variant: str
    backend: BackendName
    precision: Precision
    recipe: str
    ran_as: str
    time_ms: float
    drop: float
    size_kb: int

    @property
    def id(self) -> str:
        short = RUNTIMES[self.backend].short
        return "-".join(part for part in (self.variant, short, self.precision, self.recipe) if part)


DRAFTS = (
    Draft("original", "onnxruntime", "fp32", "", "fp32", 1.31, 0.0, 1094),
    Draft("original", "openvino", "fp32", "", "bf16", 0.96, 0.0001, 1121),
    Draft("original", "onnxruntime", "int8", "percentile", "int8", 0.60, 0.0018, 331),
    Draft("original", "openvino", "int8", "mse", "int8", 0.43, 0.0009, 352),
    Draft("pruned-28", "openvino", "int8", "mse", "int8", 0.345, 0.0031, 247),
    Draft("pruned-45", "openvino", "int8", "mse", "int8", 0.291, 0.0062, 184),
    Draft("pruned-45", "onnxruntime", "int8", "percentile", "int8", 0.41, 0.0071, 171),
    Draft("pruned-61", "openvino", "int8", "mse", "int8", 0.238, 0.0189, 131),
    Draft("original", "openvino", "w8", "", "fp32", 0.97, 0.0004, 340),
    Draft("pruned-28", "onnxruntime", "fp32", "", "fp32", 0.93, 0.0022, 790),
    Draft("pruned-28", "openvino", "fp32", "", "bf16", 0.71, 0.0023, 802),
    Draft("pruned-28", "onnxruntime", "int8", "percentile", "int8", 0.50, 0.0040, 239),
    Draft("pruned-45", "onnxruntime", "fp32", "", "fp32", 0.74, 0.0049, 566),
    Draft("pruned-45", "openvino", "fp32", "", "bf16", 0.57, 0.0050, 575),
    Draft("pruned-61", "onnxruntime", "fp32", "", "fp32", 0.55, 0.0171, 390),
    Draft("pruned-61", "onnxruntime", "int8", "percentile", "int8", 0.33, 0.0201, 122),
    Draft("original", "onnxruntime", "int8", "entropy", "int8", 0.602, 0.0035, 331),
    Draft("original", "openvino", "int8", "minmax", "int8", 0.432, 0.0047, 352),
    Draft("pruned-45", "openvino", "int8", "minmax", "int8", 0.293, 0.0108, 184),
    Draft("pruned-61", "openvino", "int8", "minmax", "int8", 0.239, 0.0262, 131),
)


def _variant(id: str, macs: int, parameters: int, history: tuple[str, ...]) -> VariantResult:
    kind: VariantKind = "original" if id == "original" else "pruned"
    description = (
        "the network as given" if kind == "original" else f"{id[-2:]} % of the MACs pruned, distilled"
    )
    return VariantResult(
        id, kind, None if kind == "original" else "original", description, macs, parameters, history
    )


VARIANTS = (
    _variant("original", 40_800_000, 270_000, ()),
    _variant(
        "pruned-28",
        29_400_000,
        196_000,
        (
            "step 1: 10 % of the MACs, 2 epochs, validation top-1 91.5 %",
            "step 2: 19 % of the MACs, 2 epochs, validation top-1 91.4 %",
            "step 3: 28 % of the MACs, 2 epochs, validation top-1 91.4 %",
        ),
    ),
    _variant(
        "pruned-45",
        22_400_000,
        147_000,
        ("steps 4 and 5: 45 % of the MACs, 4 epochs, validation top-1 91.1 %",),
    ),
    _variant(
        "pruned-61",
        15_900_000,
        102_000,
        ("steps 6 and 7: 61 % of the MACs, 4 epochs, validation top-1 89.9 %",),
    ),
)
REJECTED = (
    Rejection(
        "fp16 with onnxruntime",
        "the CPU has no fp16 arithmetic; it would run as fp32",
        "bf16 is tried instead",
    ),
    Rejection("litert", "the target made-up-board lists no such runtime", ""),
)
FAILURES = (
    Failure(
        "pruned-61-ov-w8",
        "export",
        "the compiler stopped with signal 11 (SIGSEGV)",
        "update openvino, or leave weight-only out with --precision int8",
    ),
)
WATERFALL = (
    WaterfallStep("original", 0.9168, 0.0, note="float, in onnxruntime"),
    WaterfallStep(
        "pruned", 0.8990, -0.0178, note="55% of the MACs, 5 steps with a short training each, in torch"
    ),
    WaterfallStep("fine-tuned", 0.9122, 0.0132, note="distilled from the original, in torch"),
    WaterfallStep("exported", 0.9122, 0.0, note="float ONNX"),
    WaterfallStep(
        "quantized",
        0.9108,
        -0.0014,
        -0.0030,
        0.0002,
        (
            LayerLoss(
                "/layer3/layer3.2/Relu_output_0",
                14.2,
                27.5,
                "0.61% of its values lie outside of its range: more calibration samples, or recipe int8-minmax",
            ),
            LayerLoss("/conv1/Conv_output_0", 24.6, None),
        ),
        "int8, recipe int8-nncf-mse, the rounding simulated in float",
    ),
    WaterfallStep("runtime", 0.9106, -0.0002, -0.0009, 0.0005, (), "as openvino runs it, in integers"),
)
ENVIRONMENT = Environment(
    machine="made-up-machine",
    cpu="Made-up CPU at 2.0 GHz",
    features=("avx2", "avx512_bf16", "avx512_vnni"),
    cores=2,
    memory_bytes=8_000_000_000,
    os="Linux 6.0",
    python="3.11.0",
    versions={"numpy": "2.4.6", "onnxruntime": "1.31.1", "openvino": "2026.4.1"},
    threads=1,
    pinned_cpus=(1,),
    governor="performance",
    load_1m=0.12,
    notes=(),
    sensors_before=SensorReading({"cpu-thermal": 41.0, "gpu-thermal": 39.5}, {"0": 2000.0, "1": 2000.0}),
    sensors_after=SensorReading({"cpu-thermal": 63.5, "gpu-thermal": 40.0}, {"0": 2000.0, "1": 1400.0}),
)
RUN = RunInfo(
    id="made-up-run",
    edgekit="0.0.0",
    command="edgekit build --target made-up-board --model net.py:make --weights net.safetensors"
    " --data images.npz --max-latency {latency}ms --max-drop 1% --out out",
    started="2001-02-03T04:05:06+00:00",
    duration_s=1265.0,
    seed=0,
    model="net.py:make",
    model_digest="0123456789abcdef" * 4,
    data="images.npz",
    data_digest="fedcba9876543210" * 4,
    preprocess=Preprocess("nhwc", 255.0, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
    split_sizes={"train": 45_000, "calibration": 512, "validation": VALIDATION_SAMPLES, "test": TEST_SAMPLES},
    classes=("circle", "square", "triangle"),
)
