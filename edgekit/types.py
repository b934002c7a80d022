"""The values that cross from one stage to the next. Frozen, plain, free of numpy, torch and runtimes.

Units stand in names. Accuracy values and drops are fractions: 0.01 is one percentage point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Accuracy",
    "Artifact",
    "Audit",
    "BackendName",
    "Budget",
    "Candidate",
    "Choice",
    "Cost",
    "Environment",
    "Estimate",
    "Examination",
    "Failure",
    "FileHash",
    "FloatLayer",
    "FloatReason",
    "Issue",
    "Latency",
    "LayerAudit",
    "LayerCost",
    "LayerTime",
    "Measurement",
    "Origin",
    "Percentile",
    "Precision",
    "Preprocess",
    "QuantizationSummary",
    "Rejection",
    "SensorReading",
    "Signature",
    "TensorSpec",
    "Variant",
    "VariantKind",
    "Verdict",
]

Precision = Literal["fp32", "bf16", "fp16", "int8", "w8", "int8-dynamic", "fp8", "fp4"]
"""`w8` is weight-only int8: weights stored as int8, arithmetic in float. `int8-dynamic` stores weights as int8 and
quantizes activations while it runs, with ranges of the sample at hand: nothing is calibrated."""

BackendName = str
"""A key of `runtimes.RUNTIMES`."""

Origin = Literal["device", "host", "emulated", "estimated"]
Percentile = Literal["p50", "p90", "p99"]
Verdict = Literal["MEETS", "MISSES", "INFEASIBLE", "PROVISIONAL"]
"""`PROVISIONAL`: the board is not here, latency is estimated; a run on the board settles it."""

VariantKind = Literal["original", "pruned"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval, all in the same unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `dtype` is numpy's name; a dynamic dimension is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Signature:
    """What a network takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Preprocess:
    """How stored samples become network inputs: resize, crop, divide by scale, (x - mean) / std, layout.

    `input_layout` is the layout of the *stored* samples; networks are fed NCHW. `resize` and `crop` are
    pixels (the shorter side, and a centred square). `mean` and `std` hold one value per channel, or one for all.
    """

    input_layout: Literal["nhwc", "nchw", "as-is"] = "as-is"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | None = None
    crop: int | None = None


@dataclass(frozen=True)
class LayerCost:
    """One node of the float graph, at batch 1."""

    name: str
    op: str
    macs: int
    parameters: int
    output_bytes: int


@dataclass(frozen=True)
class Cost:
    """Batch-1 cost of one float network. `activation_bytes` is the peak of live activations in graph order."""

    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    layers: tuple[LayerCost, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One float network, exported to ONNX once. `digest` is the SHA-256 of the ONNX file."""

    id: str
    kind: VariantKind
    parent: str | None
    description: str
    onnx_path: str
    digest: str
    signature: Signature
    cost: Cost


@dataclass(frozen=True)
class Candidate:
    """variant × backend × precision × calibration recipe. `recipe` is empty where nothing is calibrated.

    `device` is the accelerator it runs on where the board has one beside the runtime's usual device ("dla").
    """

    id: str
    variant: str
    backend: BackendName
    precision: Precision
    recipe: str = ""
    device: str = ""


@dataclass(frozen=True)
class Rejection:
    """What was not tried, why, and what is tried instead. Never an exception."""

    what: str
    reason: str
    instead: str = ""


@dataclass(frozen=True)
class Failure:
    """A candidate that broke: where, why, and what to do about it."""

    candidate: str
    stage: str
    cause: str
    remedy: str = ""


@dataclass(frozen=True)
class Issue:
    """One finding of a backend's lint: `error` forbids the candidate, `warning` is told."""

    severity: Literal["error", "warning"]
    node: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """What a backend's lint found in a network. `done`: which check was made, for people."""

    issues: tuple[Issue, ...]
    done: str


@dataclass(frozen=True)
class FileHash:
    """One file of an artifact; `path` is relative to the artifact's folder."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class LayerAudit:
    """What one layer really runs as in its runtime."""

    name: str
    op: str
    precision: str


@dataclass(frozen=True)
class LayerTime:
    """Measured time of one runtime layer, mean over the profiled runs."""

    name: str
    op: str
    precision: str
    time_ms: float


@dataclass(frozen=True)
class Audit:
    """`ran_as` is the precision most arithmetic layers ran in; `notes` are sentences for the report."""

    ran_as: str
    layers: tuple[LayerAudit, ...] = ()
    notes: tuple[str, ...] = ()


FloatReason = Literal["sensitive", "recipe", "small", "runtime"]
"""Why a layer of an INT8 build stays float: it costs most accuracy, the recipe names its operation, int8 would gain
nothing, or the runtime has no integer kernel for it."""


@dataclass(frozen=True)
class FloatLayer:
    """A node of the ONNX network that stays float in an INT8 build."""

    name: str
    reason: FloatReason


@dataclass(frozen=True)
class QuantizationSummary:
    """What an INT8 build decided: integers, layers in float, shared scales, corrected biases.

    `symmetric` activations have zero point 0. `ranges`, `shared_scales` and `corrected_biases` are counts; None where
    the runtime's own quantizer decides while it writes.
    """

    activation: Literal["int8", "uint8"]
    weight: Literal["int8", "uint8"]
    weight_bits: int
    granularity: Literal["per-channel", "per-tensor"]
    symmetric: bool
    observer: str
    ranges: int | None
    shared_scales: int | None
    in_float: tuple[FloatLayer, ...]
    bias_correction: Literal["none", "fast", "full"]
    corrected_biases: int | None


@dataclass(frozen=True)
class Artifact:
    """The file(s) that a runtime loads. `folder` is absolute; `entry` is the file in it to load.

    `options` are the runtime options that belong to the artifact (e.g. OpenVINO's inference precision hint)
    and travel with it into the runner and the bundle. `quantization` tells what an INT8 build decided.
    """

    candidate: str
    backend: BackendName
    folder: str
    entry: str
    files: tuple[FileHash, ...]
    size_bytes: int
    build_s: float
    versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    audit: Audit = Audit(ran_as="")
    quantization: QuantizationSummary | None = None


@dataclass(frozen=True)
class SensorReading:
    """What a machine told at one moment: degrees Celsius by thermal zone, MHz by CPU. Empty: it tells none."""

    temperature_c: Mapping[str, float] = field(default_factory=dict)
    clock_mhz: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """Where a measurement was taken. `sensors_before` and `sensors_after` the job; None where no job ran."""

    machine: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    os: str
    python: str
    versions: Mapping[str, str]
    threads: int
    pinned_cpus: tuple[int, ...]
    governor: str
    load_1m: float
    notes: tuple[str, ...] = ()
    sensors_before: SensorReading | None = None
    sensors_after: SensorReading | None = None


@dataclass(frozen=True)
class Latency:
    """Batch-1 latency. `rounds_ms` holds the raw samples, one tuple per interleaved round.

    `turns`: its place in the order of each round, 1 for the first. `preemptions`: involuntary context switches
    during the timed runs. Empty and None where they were not noted.
    """

    p50: Estimate
    p90: Estimate
    p99: Estimate
    rounds_ms: tuple[tuple[float, ...], ...]
    warmup_runs: int
    steady: bool
    turns: tuple[int, ...] = ()
    preemptions: int | None = None

    def at(self, percentile: Percentile) -> Estimate:
        """The estimate of the named percentile, in milliseconds."""
        return {"p50": self.p50, "p90": self.p90, "p99": self.p99}[percentile]


@dataclass(frozen=True)
class Accuracy:
    """`value` and the paired `drop` from the original (positive: worse), on `samples` samples of `split`."""

    metric: str
    split: str
    samples: int
    value: Estimate
    drop: Estimate


@dataclass(frozen=True)
class Measurement:
    """What the runner saw of one artifact. `import_ms`: of the runtime's package; None where it was not timed."""

    candidate: str
    origin: Origin
    environment: Environment
    load_ms: float
    peak_memory_bytes: int
    latency: Latency | None = None
    accuracy: Accuracy | None = None
    import_ms: float | None = None


@dataclass(frozen=True)
class Budget:
    """What the user asks for. `fastest` means: as fast as possible within the accuracy limit."""

    max_latency_ms: float | None = None
    fastest: bool = False
    percentile: Percentile = "p90"
    max_drop: float | None = 0.01
    max_size_bytes: int | None = None
    max_memory_bytes: int | None = None


@dataclass(frozen=True)
class Choice:
    """The verdict, and for every candidate that was measured why it is or is not the winner."""

    verdict: Verdict
    winner: str | None
    nearest: str | None
    explanation: str
    frontier: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
