"""Makes the ONNX files of ONNX Runtime candidates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.onnxruntime.lint import LOWEST_OPSET
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.graph.layers import ACTIVATIONS, weighted_layers
from edgekit.graph.proto import opset_of
from edgekit.graph.rewrites import keep_padding_in_integers, means_to_pooling
from edgekit.graph.taps import load_graph
from edgekit.quantize import Range, Scheme, collect_ranges, corrected_biases, layers_in_float
from edgekit.quantize.bias import with_biases
from edgekit.quiet import quiet

if TYPE_CHECKING:
    import onnx

    from edgekit.backends.base import ExportRequest
    from edgekit.hardware import Int8Rule
    from edgekit.quantize import Recipe

__all__ = ["KEEP_FLOAT", "QUANTIZED_OPS", "Exported", "export_float", "export_int8"]

QUANTIZED_OPS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul",
    "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip
"""Ops that get Q/DQ: those with an integer kernel on CPUs, and those that move data and pass integers through.

Softmax and the normalizations stay float: their integer kernels lose accuracy and save nothing.
"""


KEEP_FLOAT = {"optimization.disable_specified_optimizers": "WeightBiasQuantization"}
"""Session option without which ONNX Runtime quantizes a float layer behind a DequantizeLinear on its own, weights
per tensor in 8 bits (core/optimizer/qdq_transformer/weight_bias_quantization.cc, seen in 1.31)."""


@dataclass(frozen=True)
class Exported:
    """What belongs to a written file: session options, and notes for the report."""

    options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def export_float(request: ExportRequest, path: Path) -> Exported:
    """The variant as it is."""
    shutil.copyfile(request.variant.onnx_path, path)
    return Exported()


def export_int8(request: ExportRequest, path: Path) -> Exported:
    """Static Q/DQ with the integers that the target multiplies fast."""
    recipe, data = request.recipe, request.calibration
    if recipe is None or data is None:
        raise StageError(
            "export", "INT8 needs a recipe and calibration data", "give a recipe, e.g. int8-minmax"
        )
    if recipe.observer == "nncf":
        raise StageError(
            "export", f'recipe "{recipe.name}" leaves ranges to NNCF, which OpenVINO has', "use int8-mse"
        )
    rule = request.target.int8_rule(request.features)
    scheme = Scheme(rule.activation, rule.weight_bits, recipe.granularity == "per-channel")
    model = _prepared(Path(request.variant.onnx_path))
    source = request.folder / "prepared.onnx"
    try:
        _save(model, source)
        ranges = collect_ranges(
            source,
            data,
            recipe.observer,
            percentile=recipe.percentile,
            samples=recipe.samples,
            threads=request.threads,
        )
        in_float = layers_in_float(source, data, ranges, recipe, scheme, threads=request.threads)
        if recipe.bias_correction != "none":
            biases = corrected_biases(
                source, data, ranges, mode=recipe.bias_correction, scheme=scheme, threads=request.threads
            )
            model = with_biases(model, {name: bias for name, bias in biases.items() if name not in in_float})
    finally:
        source.unlink(missing_ok=True)
    quantized = _quantize(model, ranges, rule, recipe, in_float)
    keep_padding_in_integers(quantized)
    _save(quantized, path)
    notes = [
        f"INT8 as {rule.activation} activations and {rule.weight} weights of {rule.weight_bits} bits: {rule.why}."
    ]
    if in_float:
        notes.append(f"Kept in float as the most sensitive: {', '.join(in_float)}.")
    return Exported(KEEP_FLOAT if in_float or recipe.keep_float_ops else {}, tuple(notes))


def _prepared(path: Path) -> onnx.ModelProto:
    """The float graph at an opset with per-channel Q/DQ, rewritten for integer kernels, shapes inferred."""
    import onnx

    model = load_graph(path)
    opset = opset_of(model)
    if opset < LOWEST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, LOWEST_OPSET)
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise StageError(
                "export",
                f"opset {opset} cannot be raised to {LOWEST_OPSET}: {in_one_line(error)}",
                "export with opset 17",
            ) from error
    means_to_pooling(model)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    rule: Int8Rule,
    recipe: Recipe,
    in_float: tuple[str, ...],
) -> onnx.ModelProto:
    """ONNX Runtime's own quantizer, with our ranges."""
    try:
        from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnxruntime") from error
    kinds = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    # The quantizer wants a range for what it then fuses away: a layer's output before its Relu or Clip.
    fused = {layer.output: ranges[layer.result] for layer in weighted_layers(model) if layer.result in ranges}
    limits = {name: (np.float32(r.low), np.float32(r.high)) for name, r in {**fused, **ranges}.items()}
    activations = [
        layer.result
        for layer in weighted_layers(model)
        if layer.name in in_float and layer.result != layer.output
    ]
    excluded = [
        *in_float,
        *(
            node.name
            for node in model.graph.node
            if node.op_type in ACTIVATIONS and node.output[0] in activations
        ),
        *(node.name for node in model.graph.node if node.op_type in recipe.keep_float_ops),
    ]
    with quiet():
        quantizer = QDQQuantizer(
            model,
            recipe.granularity == "per-channel",
            rule.weight_bits == 7,
            kinds[rule.weight],
            kinds[rule.activation],
            TensorsData(
                CalibrationMethod.MinMax, {n: tuple(map(np.asarray, pair)) for n, pair in limits.items()}
            ),
            [],
            excluded,
            [op for op in QUANTIZED_OPS if op not in recipe.keep_float_ops],
            {"ActivationSymmetric": False, "WeightSymmetric": True} if rule.weight == "int8" else {},
        )
        try:
            quantizer.quantize_model()
        except (ValueError, RuntimeError, KeyError) as error:
            raise StageError("export", f"ONNX Runtime's quantizer: {in_one_line(error)}") from error
    result: Any = quantizer.model.model
    return result


def _save(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    onnx.save(model, str(path))
