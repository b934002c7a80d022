"""INT8 for TensorRT: ranges by our observers, bias correction, sensitive layers in float, then explicit Q/DQ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.backends.tensorrt.qdq import insert_pairs
from edgekit.errors import StageError
from edgekit.graph.layers import name_nodes, weighted_layers
from edgekit.graph.opset import decompose, in_opset
from edgekit.graph.rewrites import means_to_pooling
from edgekit.graph.taps import load_graph
from edgekit.graph.wiring import coverage
from edgekit.quantize import Range, Scheme, collect_ranges, corrected_biases, layers_in_float
from edgekit.quantize.bias import with_biases

if TYPE_CHECKING:
    import onnx

    from edgekit.quantize import CalibrationData, Recipe

__all__ = ["Quantized", "prepared", "quantize"]


@dataclass(frozen=True)
class Quantized:
    """`model` has explicit Q/DQ; `plain` is the same float network without, for implicit calibration.

    `ranges`: tensor of `plain` → range, also of tensors inside a layer and its activation.
    """

    model: onnx.ModelProto
    plain: onnx.ModelProto
    ranges: Mapping[str, Range]
    notes: tuple[str, ...]


def prepared(path: Path, opset: int, missing: frozenset[str]) -> onnx.ModelProto:
    """The float graph as the board's parser takes it: batch normalization folded, the operations `missing` there
    written in primitive ones, means over the image as pooling, an opset of at most `opset`; nodes are named.

    Raises StageError that names what cannot be expressed.
    """
    import onnx

    model = load_graph(path)
    if any(node.op_type == "BatchNormalization" for node in model.graph.node):
        from edgekit.graph.proto import simplify

        model = simplify(model)
    decompose(model, missing)
    model = in_opset(onnx.shape_inference.infer_shapes(model, data_prop=True), opset)
    means_to_pooling(model)
    name_nodes(model)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def quantize(
    model: onnx.ModelProto,
    recipe: Recipe,
    data: CalibrationData,
    folder: Path,
    *,
    weights: Literal["integers", "pairs"] = "pairs",
    threads: int = 1,
) -> Quantized:
    """Q/DQ on a `prepared` graph by the recipe. `folder` is for a scratch file that is gone afterwards.

    Raises StageError when the recipe leaves ranges to another runtime or the network cannot be calibrated.
    """
    import onnx

    if recipe.observer == "nncf":
        raise StageError(
            "quantize", f'recipe "{recipe.name}" leaves ranges to NNCF, which OpenVINO has', "use int8-mse"
        )
    per_channel = recipe.granularity == "per-channel"
    scheme = Scheme("int8", 8, per_channel, symmetric=True)
    source = folder / "prepared.onnx"
    try:
        onnx.save(model, str(source))
        ranges = collect_ranges(
            source,
            data,
            recipe.observer,
            percentile=recipe.percentile,
            samples=recipe.samples,
            symmetric=True,
            threads=threads,
        )
        in_float = (
            *(node.name for node in model.graph.node if node.op_type in recipe.keep_float_ops),
            *layers_in_float(source, data, ranges, recipe, scheme, threads=threads),
        )
        plain = model
        if recipe.bias_correction != "none":
            biases = corrected_biases(
                source, data, ranges, mode=recipe.bias_correction, scheme=scheme, threads=threads
            )
            # Layers in float have nothing to correct.
            plain = with_biases(model, {name: bias for name, bias in biases.items() if name not in in_float})
    finally:
        source.unlink(missing_ok=True)
    quantized, notes = insert_pairs(
        plain, ranges, in_float=in_float, per_channel=per_channel, weights=weights
    )
    inside = {
        layer.output: ranges[layer.result] for layer in weighted_layers(model) if layer.result in ranges
    }
    return Quantized(quantized, plain, {**inside, **ranges}, (*notes, *_told(quantized, in_float)))


def _told(quantized: onnx.ModelProto, in_float: tuple[str, ...]) -> tuple[str, ...]:
    counted = coverage(quantized)
    layers = len(counted.quantized) + len(counted.in_float)
    notes = [
        f"{len(counted.quantized)} of {layers} convolutions and matrix products stand between Q/DQ: int8 activations "
        "with zero point 0, int8 weights per output channel, float bias."
    ]
    if in_float:
        notes.append(f"Kept in float as the most sensitive: {', '.join(in_float)}.")
    return tuple(notes)
