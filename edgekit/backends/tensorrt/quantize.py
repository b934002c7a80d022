"""INT8 for TensorRT: the plan as explicit Q/DQ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.backends.tensorrt.qdq import insert_pairs
from edgekit.graph.layers import weighted_layers
from edgekit.graph.wiring import coverage
from edgekit.quantize import Range
from edgekit.quantize.bias import with_biases

if TYPE_CHECKING:
    import onnx

    from edgekit.quantize import QuantPlan

__all__ = ["QuantizedGraph", "quantize"]


@dataclass(frozen=True)
class QuantizedGraph:
    """`model` has explicit Q/DQ; `plain` is the same float network without, for implicit calibration.

    `ranges`: tensor of `plain` → range, also of tensors inside a layer and its activation.
    """

    model: onnx.ModelProto
    plain: onnx.ModelProto
    ranges: Mapping[str, Range]
    notes: tuple[str, ...]


def quantize(
    plan: QuantPlan, model: onnx.ModelProto, *, weights: Literal["integers", "pairs"] = "pairs"
) -> QuantizedGraph:
    """Q/DQ on a `prepared` graph by the plan that was made for it."""
    plain = with_biases(model, plan.corrected())
    quantized = insert_pairs(
        plain,
        plan.ranges,
        in_float=tuple(layer.name for layer in plan.in_float),
        per_channel=plan.integers.per_channel,
        weights=weights,
    )
    inside = {
        layer.output: plan.ranges[layer.result]
        for layer in weighted_layers(model)
        if layer.result in plan.ranges
    }
    return QuantizedGraph(quantized, plain, {**inside, **plan.ranges}, (*plan.notes, *_told(quantized, plan)))


def _told(quantized: onnx.ModelProto, plan: QuantPlan) -> tuple[str, ...]:
    counted = coverage(quantized)
    layers = len(counted.quantized) + len(counted.in_float)
    notes = [
        f"{len(counted.quantized)} of {layers} convolutions and matrix products stand between Q/DQ: int8 activations "
        "with zero point 0, int8 weights per output channel, float bias."
    ]
    sensitive = plan.kept("sensitive")
    if sensitive:
        notes.append(f"Kept in float as the most sensitive: {', '.join(sensitive)}.")
    return tuple(notes)
