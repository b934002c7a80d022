"""A float ONNX graph with chosen layers quantized in simulation: what quantization costs, free of any kernel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.layers import weighted_layers
from edgekit.quantize.observers.ranges import AffineParameters, Range, affine_parameters

if TYPE_CHECKING:
    import onnx

__all__ = ["Scheme", "fake_quantize_weights", "simulated", "weight_grid"]


@dataclass(frozen=True)
class Scheme:
    """Integers of activations and weights. Weights are symmetric around zero in `weight_bits` bits.

    `symmetric`: activations too, with zero point 0 (int8 only), as TensorRT wants them. `weight` is how weights are
    stored.
    """

    activation: Literal["int8", "uint8"] = "uint8"
    weight_bits: int = 8
    per_channel: bool = True
    symmetric: bool = False
    weight: Literal["int8", "uint8"] = "int8"

    def activation_parameters(self, values: Range) -> AffineParameters:
        """8-bit parameters for an activation."""
        if self.symmetric:
            return affine_parameters(values, -128, 127, symmetric=True)
        return affine_parameters(values, *((0, 255) if self.activation == "uint8" else (-128, 127)))


def fake_quantize_weights(weights: NDArray[Any], scheme: Scheme, channel_axis: int) -> NDArray[np.float32]:
    """Weights rounded to the scheme's grid and back to float; same shape."""
    scale, largest = weight_grid(weights, scheme, channel_axis)
    return np.asarray(np.clip(np.rint(weights / scale), -largest, largest) * scale, np.float32)


def weight_grid(weights: NDArray[Any], scheme: Scheme, channel_axis: int) -> tuple[NDArray[np.float32], int]:
    """The scale of each channel, or of all, in a shape that divides the weights, and the largest integer.

    The grid is that of ONNX Runtime's quantizer (and of NNCF's overflow fix): 8 bits are -127..127, 7 bits are
    -64..64. Bias correction needs the very grid, or it corrects an error that is not there.
    """
    largest = 127 if scheme.weight_bits == 8 else 2 ** (scheme.weight_bits - 1)
    if scheme.per_channel:
        others = tuple(axis for axis in range(weights.ndim) if axis != channel_axis % weights.ndim)
        edge = np.abs(weights).max(axis=others, keepdims=True)
    else:
        edge = np.abs(weights).max()
    return np.asarray(np.where(edge > 0, edge, 1.0).astype(np.float32) / np.float32(largest)), largest


def simulated(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    layers: Collection[str],
    scheme: Scheme,
    *,
    tensors: Collection[str] | None = None,
    readers: Collection[str] | None = None,
) -> onnx.ModelProto:
    """A copy where the named layers have quantized weights and Q/DQ on their input and result, or on `tensors` instead,
    for all nodes that read these or for `readers` alone.

    A tensor without a range stays float. Layers are those of `weighted_layers`.
    """
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    chosen = [layer for layer in weighted_layers(copy) if layer.name in layers]
    constants = {initializer.name: initializer for initializer in copy.graph.initializer}
    for layer in chosen:
        weights = fake_quantize_weights(
            numpy_helper.to_array(constants[layer.weight]), scheme, layer.channel_axis
        )
        private = f"{layer.name}/simulated_weight"
        copy.graph.initializer.append(numpy_helper.from_array(weights, private))
        next(node for node in copy.graph.node if node.name == layer.name).input[1] = private
    if tensors is None:
        tensors = dict.fromkeys(name for layer in chosen for name in (layer.input, layer.result))
    _insert_pairs(copy, [name for name in tensors if name in ranges], ranges, scheme, readers)
    return copy


def _insert_pairs(
    model: onnx.ModelProto,
    tensors: Collection[str],
    ranges: Mapping[str, Range],
    scheme: Scheme,
    readers: Collection[str] | None = None,
) -> None:
    """Put Q/DQ behind each quantized tensor, in place. The tensor keeps its name for graph outputs, which see it
    rounded where all `readers` do."""
    from onnx import helper

    outputs = {output.name for output in model.graph.output}
    inputs = {info.name for info in model.graph.input}
    renamed = {}
    pairs: dict[str, list[onnx.NodeProto]] = {}
    for name in tensors:
        ends = name in outputs and readers is None
        before, after = (f"{name}/float", name) if ends else (name, f"{name}/simulated")
        if name in inputs and name in outputs:
            continue
        renamed[name] = (before, after)
        pairs[before] = _pair(model, before, after, scheme, ranges[name])
    nodes = []
    for name, (before, _) in renamed.items():
        if name in inputs:
            nodes.extend(pairs[before])
    for node in model.graph.node:
        clone = helper.make_node(node.op_type, [], [], name=node.name, domain=node.domain)
        clone.attribute.extend(node.attribute)
        reads = readers is None or node.name in readers
        clone.input.extend(renamed[name][1] if reads and name in renamed else name for name in node.input)
        clone.output.extend(renamed[name][0] if name in renamed else name for name in node.output)
        nodes.append(clone)
        for name in clone.output:
            nodes.extend(pairs.get(name, []))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _pair(
    model: onnx.ModelProto, before: str, after: str, scheme: Scheme, values: Range
) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear from tensor `before` to tensor `after`; adds their constants."""
    from onnx import helper, numpy_helper

    grid = scheme.activation_parameters(values)
    zero = np.array(grid.zero_point, np.uint8 if scheme.activation == "uint8" else np.int8)
    scale_name, zero_name, integers = f"{after}/scale", f"{after}/zero_point", f"{after}/integers"
    model.graph.initializer.append(numpy_helper.from_array(np.array(grid.scale, np.float32), scale_name))
    model.graph.initializer.append(numpy_helper.from_array(zero, zero_name))
    return [
        helper.make_node(
            "QuantizeLinear", [before, scale_name, zero_name], [integers], name=f"{after}/quantize"
        ),
        helper.make_node(
            "DequantizeLinear", [integers, scale_name, zero_name], [after], name=f"{after}/dequantize"
        ),
    ]
