"""What a float network costs at batch 1: multiply-accumulates, parameters, bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.graph.proto import read_model
from edgekit.types import Cost, LayerCost

if TYPE_CHECKING:
    import onnx

__all__ = ["onnx_cost"]

# Outputs that share their input's memory in every runtime that edgekit knows.
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})


def onnx_cost(path: str | Path) -> Cost:
    """Count a static float ONNX file. Raises ModelError when shapes cannot be inferred.

    MACs: Conv (outputs · C_in/groups · kernel), ConvTranspose (inputs · C_out/groups · kernel), Gemm (M·N·K),
    MatMul (outputs · K); everything else counts none. Parameters: elements of all float weights.
    `activation_bytes`: the peak of activations alive at once when nodes run in file order, each from where it
    is made to its last use, inputs and outputs included.
    """
    import onnx

    path = Path(path)
    try:
        model = onnx.shape_inference.infer_shapes(read_model(path), data_prop=True)
    except onnx.shape_inference.InferenceError as problem:
        raise ModelError(f"{path}: shapes cannot be inferred: {problem}") from problem
    graph = model.graph
    sizes = {weight.name: (tuple(weight.dims), weight.data_type) for weight in graph.initializer}
    weights = frozenset(sizes)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        # A tensor whose rank is not known counts nothing, as one with an open size.
        dims = tuple(dim.dim_value for dim in tensor.shape.dim) if tensor.HasField("shape") else (0,)
        sizes[value.name] = (dims, tensor.elem_type)
    counter = _Counter(sizes, weights)
    layers = tuple(counter.layer(node) for node in graph.node)
    floats = [name for name in weights if _is_float(sizes[name][1])]
    return Cost(
        macs=sum(layer.macs for layer in layers),
        parameters=sum(counter.elements(name) for name in floats),
        weight_bytes=sum(counter.bytes(name) for name in floats),
        activation_bytes=_peak(graph, counter),
        layers=layers,
    )


def _is_float(data_type: int) -> bool:
    import onnx

    kinds = onnx.TensorProto
    return data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE)


class _Counter:
    """Sizes of all tensors of one graph. An unknown tensor (an optional output) counts nothing."""

    def __init__(self, sizes: Mapping[str, tuple[tuple[int, ...], int]], weights: frozenset[str]) -> None:
        self.sizes = sizes
        self.weights = weights

    def shape(self, name: str) -> tuple[int, ...]:
        return self.sizes[name][0] if name in self.sizes else (0,)

    def elements(self, name: str) -> int:
        return math.prod(self.shape(name))

    def bytes(self, name: str) -> int:
        import onnx

        if name not in self.sizes:
            return 0
        return self.elements(name) * int(onnx.helper.tensor_dtype_to_np_dtype(self.sizes[name][1]).itemsize)

    def layer(self, node: onnx.NodeProto) -> LayerCost:
        weights = (name for name in node.input if name in self.weights)
        return LayerCost(
            name=node.name,
            op=node.op_type,
            macs=self.macs(node),
            parameters=sum(self.elements(name) for name in weights if _is_float(self.sizes[name][1])),
            output_bytes=sum(self.bytes(name) for name in node.output),
        )

    def macs(self, node: onnx.NodeProto) -> int:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            return 0
        first, second, out = node.input[0], node.input[1], node.output[0]
        if node.op_type in ("Conv", "ConvTranspose"):
            # Weights are [C_out, C_in/groups, ...] and, transposed, [C_in, C_out/groups, ...].
            per_position = math.prod(self.shape(second)[1:])
            return per_position * self.elements(out if node.op_type == "Conv" else first)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        inner = self.shape(first)[0 if transposed and node.op_type == "Gemm" else -1]
        return self.elements(out) * inner


def _peak(graph: onnx.GraphProto, counter: _Counter) -> int:
    owner: dict[str, str] = {}
    for node in graph.node:
        for name in node.output:
            view = node.op_type in VIEWS and name == node.output[0] and node.input[0] not in counter.weights
            owner[name] = owner.get(node.input[0], node.input[0]) if view else name
    end = len(graph.node)
    last = {owner.get(output.name, output.name): end for output in graph.output}
    for index, node in enumerate(graph.node):
        for name in (*node.input, *node.output):
            root = owner.get(name, name)
            last[root] = max(last.get(root, index), index)
    alive = {port.name: counter.bytes(port.name) for port in graph.input if port.name not in counter.weights}
    peak = sum(alive.values())
    for index, node in enumerate(graph.node):
        for name in node.output:
            alive.setdefault(owner[name], counter.bytes(owner[name]))
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, index) > index}
    return peak
