"""Artifacts: files, what their layers really run as, what an INT8 build decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.types.candidates import BackendName

__all__ = [
    "Artifact",
    "Audit",
    "FileHash",
    "FloatLayer",
    "FloatPoint",
    "FloatReason",
    "LayerAudit",
    "LayerPart",
    "LayerRow",
    "LayerTime",
    "QuantizationSummary",
]


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
class LayerPart:
    """A file that runs one layer of an artifact alone, for a runtime that cannot tell layers apart.

    `path` and the .npy files of `feeds` (input name → file) are relative to the folder that holds them.
    """

    path: str
    feeds: Mapping[str, str]


@dataclass(frozen=True)
class LayerRow:
    """One layer as its runtime tells it: its own name and kind, mean milliseconds, and what else it says, as texts."""

    name: str
    op: str
    mean_ms: float
    facts: Mapping[str, str] = field(default_factory=dict)


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


FloatReason = Literal["sensitive", "between", "recipe", "small", "runtime", "apart", "stream"]
"""Why a layer of an INT8 build stays float: it costs most accuracy, it stands beside such a layer so that going into
int8 and back between them would cost more, the recipe names its operation, int8 would gain nothing, the runtime has no
integer kernel for it that gains, it joins values too far apart for one scale, or it is a transformer's sum."""


@dataclass(frozen=True)
class FloatLayer:
    """A node of the ONNX network that stays float in an INT8 build.

    Where layers were chosen by their times on the board: `extra_ms` is what it takes longer than it would alone in int8
    among the others that were chosen, transitions included, and `noise` the share of the INT8 network's noise at the
    outputs that it would then bring back. Both stand at the first of the nodes that run at once.
    """

    name: str
    reason: FloatReason
    extra_ms: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class FloatPoint:
    """A set of layers in float, by prediction: no other that adds at most `percent` of the INT8 network's time leaves
    much less noise. `extra`: the share of that time which it adds, `noise`: the share of INT8's noise that it leaves.
    """

    percent: int
    extra: float
    noise: float


@dataclass(frozen=True)
class QuantizationSummary:
    """What an INT8 build decided: integers, layers in float, shared scales, corrected biases.

    `symmetric` activations have zero point 0. `ranges`, `shared_scales` and `corrected_biases` are counts; None where
    the runtime's own quantizer decides while it writes. `repairs`: what was done to the network before, in words.
    `frontier`: the sets of layers in float that there are to choose from, by ascending time; see `QuantPlan`.
    `tables`: nodes that look rows up in a stored table, as the vectors of words, which are int8 with a scale each.
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
    repairs: tuple[str, ...] = ()
    frontier: tuple[FloatPoint, ...] = ()
    tables: tuple[str, ...] = ()


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
