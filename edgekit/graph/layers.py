"""What a quantizer needs to know of an ONNX graph: its layers, and the tensors between them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["ACTIVATIONS", "WEIGHTED", "Layer", "float_tensors", "name_nodes", "weighted_layers"]

WEIGHTED = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Op type with weights → axis of the output channels in the weights (Gemm: without transB)."""

ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Functions that a quantized layer performs by clipping its integers."""

_NOT_ARITHMETIC = frozenset({"Shape", "Constant", "ConstantOfShape", "Cast", "Size", "Range", "NonZero"})


@dataclass(frozen=True)
class Layer:
    """One node with constant weights. `result` is its output after an activation that only it feeds."""

    name: str
    op: str
    input: str
    weight: str
    bias: str
    output: str
    result: str
    channel_axis: int


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, in place: names are how layers are told apart."""
    taken = Counter(node.name for node in model.graph.node)
    for index, node in enumerate(model.graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.name or node.op_type}_{index}"


def weighted_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Nodes that multiply with constant weights, in graph order. Nodes must have names (`name_nodes`)."""
    constants = {initializer.name for initializer in model.graph.initializer}
    consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            consumers[name].append(node)
    outputs = {output.name for output in model.graph.output}
    layers = []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or node.input[1] not in constants or node.input[0] in constants:
            continue
        after = consumers[node.output[0]]
        fused = len(after) == 1 and after[0].op_type in ACTIVATIONS and node.output[0] not in outputs
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        layers.append(
            Layer(
                name=node.name,
                op=node.op_type,
                input=node.input[0],
                weight=node.input[1],
                bias=node.input[2] if len(node.input) > 2 else "",
                output=node.output[0],
                result=after[0].output[0] if fused else node.output[0],
                channel_axis=0 if transposed else WEIGHTED[node.op_type],
            )
        )
    return tuple(layers)


def float_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Activations whose range a quantizer may ask for: float inputs and float outputs of nodes, in graph order.

    Left out are the outputs of layers that go into a Relu or Clip alone: the pair is quantized as one.
    Needs inferred shapes, which carry the element types.
    """
    from onnx import TensorProto

    constants = {initializer.name for initializer in model.graph.initializer}
    infos = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    floats = {info.name for info in infos if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    before_activation = {layer.output for layer in weighted_layers(model) if layer.result != layer.output}
    names = [info.name for info in model.graph.input if info.name not in constants]
    for node in model.graph.node:
        if node.op_type not in _NOT_ARITHMETIC:
            names.extend(node.output)
    return tuple(name for name in dict.fromkeys(names) if name in floats and name not in before_activation)
