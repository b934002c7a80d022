"""What becomes INT8 and how: one value per network, recipe and kind of integers, which exporters write down."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgekit.quantize.observers.ranges import AffineParameters, Range
from edgekit.quantize.simulate import Scheme
from edgekit.types import FloatLayer, FloatPoint, QuantizationSummary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Part", "QuantPlan", "decode_plan", "encode_plan", "followed", "united"]

Part = Literal["ranges", "biases"]


@dataclass(frozen=True)
class QuantPlan:
    """`network` and `calibration` are SHA-256 digests: of the variant's ONNX file, and of the samples.

    `ranges`: tensor → range that its integers span, in the order of the graph; tensors of one group of `shared` have
    the same one. `by_channel`: tensor of these → the range of each channel (axis 1), for runtimes that have such.
    Tensors are named as the runtime's own quantizer names them. `observer` found the ranges.
    `in_float`: nodes of the ONNX network that stay float. `biases`: node → its corrected bias, float32 in little-endian
    bytes [output channels] (`bias`). `io`: what the artifact itself takes and gives. `float_as`: what its layers in
    float compute in, "" for what the runtime has by itself.
    `left_to_runtime`: what the runtime's own quantizer decides while it writes, on the first `samples` calibration
    samples; the plan then says nothing of it. `repairs`: what was done to the network before, in words. `notes`:
    sentences for the report on what was unusual. `frontier`: of a recipe that is searched from, where times of layers
    are known: the sets of layers in float among which it is searched. `tables`: nodes that take rows of
    a stored table, whose rows are int8 with a scale each (`graph.tables`).
    """

    network: str
    calibration: str
    recipe: str
    observer: str
    samples: int
    integers: Scheme
    ranges: Mapping[str, Range]
    shared: tuple[tuple[str, ...], ...]
    in_float: tuple[FloatLayer, ...]
    bias_correction: Literal["none", "fast", "full"]
    biases: Mapping[str, bytes]
    io: Literal["float", "int8"] = "float"
    float_as: Literal["", "fp32", "fp16", "bf16"] = ""
    left_to_runtime: tuple[Part, ...] = ()
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    by_channel: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)
    frontier: tuple[FloatPoint, ...] = ()
    tables: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the encoded plan."""
        return hashlib.sha256(encode_plan(self)).hexdigest()

    def grid(self, tensor: str) -> AffineParameters:
        """Scale and zero point of a tensor. Raises KeyError for one without a range."""
        return self.integers.activation_parameters(self.ranges[tensor])

    def bias(self, layer: str) -> NDArray[np.float32]:
        """The corrected bias of a layer, [output channels]. Raises KeyError for a layer without one."""
        import numpy as np

        return np.frombuffer(self.biases[layer], "<f4").astype(np.float32)

    def corrected(self) -> dict[str, NDArray[np.float32]]:
        """Layer → its corrected bias, of all that have one."""
        return {layer: self.bias(layer) for layer in self.biases}

    def kept(self, *reasons: str) -> tuple[str, ...]:
        """Nodes that stay float for one of these reasons, in the plan's order."""
        return tuple(layer.name for layer in self.in_float if layer.reason in reasons)

    def summary(self) -> QuantizationSummary:
        """What people ask of it, without the tensors."""
        return QuantizationSummary(
            activation=self.integers.activation,
            weight=self.integers.weight,
            weight_bits=self.integers.weight_bits,
            granularity="per-channel" if self.integers.per_channel else "per-tensor",
            symmetric=self.integers.symmetric,
            observer=self.observer,
            ranges=None if "ranges" in self.left_to_runtime else len(self.ranges),
            shared_scales=None if "ranges" in self.left_to_runtime else len(self.shared),
            in_float=self.in_float,
            bias_correction=self.bias_correction,
            corrected_biases=None if "biases" in self.left_to_runtime else len(self.biases),
            repairs=self.repairs,
            frontier=self.frontier,
            tables=self.tables,
        )


def encode_plan(plan: QuantPlan) -> bytes:
    """As JSON; equal plans made in the same order give equal bytes."""
    import msgspec

    return msgspec.json.encode(plan)


def decode_plan(content: bytes) -> QuantPlan:
    """What `encode_plan` wrote. Raises ValueError for anything else."""
    import msgspec

    return msgspec.json.decode(content, type=QuantPlan)


def united(
    ranges: Mapping[str, Range], groups: Iterable[Collection[str]]
) -> tuple[dict[str, Range], tuple[tuple[str, ...], ...]]:
    """Ranges where every tensor of a group has the union of the group's, and the groups of two and more.

    Groups that touch are one group. Names without a range are left out. Order is that of `ranges`.
    """
    settled = dict(ranges)
    joined = _joined(groups)
    shared = []
    for group in joined:
        members = tuple(name for name in ranges if name in group)
        if len(members) > 1:
            union = Range(
                min(ranges[name].low for name in members), max(ranges[name].high for name in members)
            )
            settled.update(dict.fromkeys(members, union))
            shared.append(members)
    places = {name: place for place, name in enumerate(ranges)}
    return settled, tuple(sorted(shared, key=lambda group: places[group[0]]))


def followed(
    ranges: Mapping[str, Range], pairs: Iterable[tuple[str, str]]
) -> tuple[dict[str, Range], tuple[tuple[str, ...], ...]]:
    """Ranges where the second tensor of each pair takes the range of the first, and the groups that come of it.

    Along a chain the range of its first tensor holds. A tensor follows one other only: the first pair that names it
    counts. Pairs with a tensor that has no range are left out.
    """
    leader: dict[str, str] = {}

    def first(name: str) -> str:
        while name in leader:
            name = leader[name]
        return name

    for source, follower in pairs:
        if source in ranges and follower in ranges and follower not in leader and first(source) != follower:
            leader[follower] = source
    groups: dict[str, list[str]] = {}
    for name in ranges:
        groups.setdefault(first(name), []).append(name)
    settled = {name: ranges[first(name)] for name in ranges}
    return settled, tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _joined(groups: Iterable[Collection[str]]) -> list[set[str]]:
    """Groups that share no member: those that touch, put together."""
    joined: list[set[str]] = []
    for group in groups:
        touching = [other for other in joined if not other.isdisjoint(group)]
        joined = [other for other in joined if other.isdisjoint(group)]
        joined.append(set(group).union(*touching))
    return joined
