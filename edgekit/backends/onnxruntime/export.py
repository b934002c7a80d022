"""Makes the ONNX files of ONNX Runtime candidates."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.onnxruntime.plan import QUANTIZED_OPS, excluded_nodes, prepared
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.graph.layers import weighted_layers
from edgekit.graph.rewrites import keep_padding_in_integers
from edgekit.graph.tables import store_rows_in_int8
from edgekit.quantize.bias import with_biases
from edgekit.quiet import quiet
from edgekit.types import FloatReason

if TYPE_CHECKING:
    import onnx

    from edgekit.quantize import QuantPlan

__all__ = ["KEEP_FLOAT", "Exported", "export_float", "export_int8"]

KEEP_FLOAT = {"optimization.disable_specified_optimizers": "WeightBiasQuantization"}
"""Session option without which ONNX Runtime quantizes a float layer behind a DequantizeLinear on its own, weights
per tensor in 8 bits (core/optimizer/qdq_transformer/weight_bias_quantization.cc, seen in 1.31)."""

BY_SENSITIVITY: tuple[FloatReason, ...] = ("sensitive", "between")

CHOSEN: tuple[FloatReason, ...] = (*BY_SENSITIVITY, "recipe", "apart", "stream")
"""Why nodes stay float that its quantizer would take."""


@dataclass(frozen=True)
class Exported:
    """What belongs to a written file: session options, and notes for the report."""

    options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def export_float(onnx_path: Path, path: Path) -> Exported:
    """The variant as it is."""
    shutil.copyfile(onnx_path, path)
    return Exported()


def export_int8(plan: QuantPlan, onnx_path: Path, path: Path, why: str) -> Exported:
    """The plan as static Q/DQ in the variant `onnx_path`, written to `path`. `why` the target wants these integers.

    Raises StageError when ONNX Runtime's quantizer refuses.
    """
    import onnx

    model = with_biases(prepared(onnx_path), plan.corrected())
    quantized = _quantize(model, plan)
    floats = excluded_nodes(model, plan.kept(*CHOSEN))
    read_as_made(quantized, makers=floats, readers=excluded_nodes(model, plan.kept(*BY_SENSITIVITY)))
    keep_padding_in_integers(quantized)
    store_rows_in_int8(quantized, plan.tables)
    onnx.save(quantized, str(path))
    integers = plan.integers
    notes = [
        f"INT8 as {integers.activation} activations and {integers.weight} weights of {integers.weight_bits} bits: "
        f"{why}."
    ]
    sensitive = plan.kept("sensitive")
    if sensitive:
        notes.append(f"Kept in float as the most sensitive: {', '.join(sensitive)}.")
    return Exported(KEEP_FLOAT if plan.kept(*CHOSEN) else {}, (*notes, *plan.notes))


def read_as_made(model: onnx.ModelProto, *, makers: Collection[str], readers: Collection[str]) -> None:
    """Let these nodes read what float nodes, or none, have made before it is rounded for others, in place.

    The quantizer gives all readers of a tensor the rounded one as soon as a single one is in integers.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    before = {}
    for node in model.graph.node:
        pair = made_by.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if pair is not None and pair.op_type == "QuantizeLinear":
            source = made_by.get(pair.input[0])
            if source is None or source.name in makers:
                before[node.output[0]] = pair.input[0]
    for node in model.graph.node:
        if node.name in readers:
            node.input[:] = [before.get(name, name) for name in node.input]


def _quantize(model: onnx.ModelProto, plan: QuantPlan) -> onnx.ModelProto:
    """ONNX Runtime's own quantizer, with the plan's ranges."""
    try:
        from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    kinds = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    ranges = plan.ranges
    # The quantizer wants a range for what it then fuses away: a layer's output before its Relu or Clip.
    fused = {layer.output: ranges[layer.result] for layer in weighted_layers(model) if layer.result in ranges}
    limits = {name: (np.float32(r.low), np.float32(r.high)) for name, r in {**fused, **ranges}.items()}
    with quiet():
        quantizer = QDQQuantizer(
            model,
            plan.integers.per_channel,
            plan.integers.weight_bits == 7,
            kinds[plan.integers.weight],
            kinds[plan.integers.activation],
            TensorsData(
                CalibrationMethod.MinMax, {n: tuple(map(np.asarray, pair)) for n, pair in limits.items()}
            ),
            [],
            sorted(excluded_nodes(model, plan.kept(*CHOSEN))),
            list(QUANTIZED_OPS),
            {"ActivationSymmetric": False, "WeightSymmetric": True} if plan.integers.weight == "int8" else {},
        )
        try:
            quantizer.quantize_model()
        except (ValueError, RuntimeError, KeyError, AssertionError) as error:
            raise StageError("export", f"ONNX Runtime's quantizer: {in_one_line(error)}") from error
    result: Any = quantizer.model.model
    return result
