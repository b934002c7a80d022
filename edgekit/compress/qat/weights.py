"""The trained weights and biases of a QatNetwork, in the file's own layout. Imports torch: loaded by functions only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgekit.compress.qat.rounding import rounded_bias, rounded_weights, weight_scale
from edgekit.graph.layers import WEIGHTED, Layer, weighted_layers
from edgekit.graph.to_torch.editing import attributes_of, constants_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.quantize.placement import Placement

__all__ = ["TrainedWeights"]

Tensor = torch.Tensor
FromFile = Callable[[Tensor], Tensor]

TABLE_BITS = 8
OPERAND_AXIS = {"ConvTranspose": 1}
"""Op type → axis of the output channels in the operand of its call; 0 for others."""


@dataclass(frozen=True)
class _Operand:
    """An operand of a node: `key` of its parameter, how it comes of that, how it is rounded (`bits` 0: it is not)."""

    key: str
    form: FromFile
    axis: int | None = None
    bits: int = 0


class TrainedWeights(torch.nn.Module):
    """Constants that layers multiply with and add, each once.

    Weights are trained in units of the largest of their channel, so that a step moves a channel of small weights as
    far, measured by its own grid, as one of large weights. A constant that something else reads too stays as it is.
    """

    def __init__(self, model: onnx.ModelProto, placement: Placement | None) -> None:
        super().__init__()
        constants = constants_of(model)
        trained = _read_by_layers_alone(model)
        integers = None if placement is None else placement.integers
        in_integers = frozenset(() if placement is None else placement.layers)
        self.values = torch.nn.ParameterDict()
        self.names: dict[str, str] = {}
        self.operands: dict[tuple[str, int], _Operand] = {}
        self.fixed: dict[str, tuple[int, bool]] = {}
        self.tables = frozenset(() if placement is None else placement.tables)
        self._kept: dict[str, str] = {}
        nodes = {node.name: node for node in model.graph.node}
        for layer in weighted_layers(model):
            node = nodes[layer.name]
            weight, bias = _form(node, layer, constants)
            if weight is None or layer.weight not in trained:
                if integers is not None and layer.name in in_integers:
                    self.fixed[layer.name] = integers.weight_bits, integers.per_channel
                continue
            axis = layer.channel_axis % constants[layer.weight].ndim
            key = self._parameter(layer.weight, constants[layer.weight], axis)
            bits, along = 0, None
            if integers is not None and layer.name in in_integers:
                bits, along = integers.weight_bits, axis if integers.per_channel else None
            self.operands[layer.name, 1] = _Operand(key, weight, along, bits)
            if bias is not None and layer.bias in trained:
                key = self._parameter(layer.bias, constants[layer.bias], None)
                self.operands[layer.name, 2] = _Operand(key, bias)

    def gives(self, node: onnx.NodeProto, place: int) -> bool:
        """Whether that operand is one of these."""
        return (node.name, place) in self.operands

    def stored(self, node: onnx.NodeProto, place: int, array: NDArray[Any]) -> Tensor:
        """A constant operand that is not trained, rounded where it is the weight of a layer in integers, or a table of
        rows that are."""
        value = torch.from_numpy(np.array(array))
        if place == 0 and node.name in self.tables:
            return rounded_weights(value, 0, TABLE_BITS)
        if place != 1 or node.name not in self.fixed:
            return value
        bits, per_channel = self.fixed[node.name]
        axis = OPERAND_AXIS.get(node.op_type, 0)
        return rounded_weights(value, axis if per_channel else None, bits)

    def operand(self, node: onnx.NodeProto, place: int, scale: Tensor | None = None) -> Tensor:
        """As the node takes it, rounded where the layer is in integers; `scale`: of its input, None: that is float."""
        operand = self.operands[node.name, place]
        return operand.form(self._settled(node.name, place, scale))

    def trained(self, scales: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        """Initializer → its values now, those of layers in integers on their grid, which a runtime finds again.

        `scales`: layer → scale of its input, or of each of its channels, where that is in integers.
        """
        arrays = {}
        with torch.no_grad():
            for (layer, place), operand in sorted(self.operands.items(), key=lambda item: item[1].bits):
                value = self._settled(layer, place, scales.get(layer))
                arrays[self.names[operand.key]] = value.cpu().contiguous().numpy().copy()
        return arrays

    def _settled(self, layer: str, place: int, scale: Tensor | None) -> Tensor:
        operand = self.operands[layer, place]
        weight = self.operands[layer, 1]
        if place != 2 or scale is None or not weight.bits:
            return self._rounded(operand)
        steps = weight_scale(self._value(weight.key), weight.axis, weight.bits)
        if scale.ndim:  # depthwise: each input channel has its own outputs, one behind the other
            count = len(self._value(operand.key))
            scale = scale.repeat_interleave(count // len(scale)).view(-1, *[1] * (steps.ndim - 1))
        return rounded_bias(self._value(operand.key), steps * scale)

    def _rounded(self, operand: _Operand) -> Tensor:
        value = self._value(operand.key)
        return rounded_weights(value, operand.axis, operand.bits) if operand.bits else value

    def _value(self, key: str) -> Tensor:
        unit: Tensor = getattr(self, f"unit_{key}")
        value: Tensor = self.values[key].float() * unit
        return value

    def _parameter(self, name: str, array: NDArray[Any], axis: int | None) -> str:
        """The key of the parameter of an initializer, made where there is none yet."""
        if name in self._kept:
            return self._kept[name]
        key = self._kept[name] = f"p{len(self._kept)}"
        others = tuple(other for other in range(array.ndim) if axis is not None and other != axis)
        edge = np.abs(array).max(axis=others if axis is not None else None, keepdims=axis is not None)
        unit = np.where(edge > 0, edge, 1.0).astype(np.float32)
        self.register_buffer(f"unit_{key}", torch.from_numpy(np.array(unit)))
        self.values[key] = torch.nn.Parameter(torch.from_numpy(np.array(array, np.float32) / unit))
        self.names[key] = name
        return key


def _read_by_layers_alone(model: onnx.ModelProto) -> frozenset[str]:
    """Float initializers that are weight or bias of layers, and nothing else."""
    from onnx import TensorProto

    readers: dict[str, set[bool]] = defaultdict(set)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            readers[name].add(node.op_type in WEIGHTED and place in (1, 2))
    outputs = {port.name for port in model.graph.output}
    floats = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return frozenset(name for name, kinds in readers.items() if kinds == {True} and name in floats - outputs)


def _form(node: Any, layer: Layer, constants: dict[str, Any]) -> tuple[FromFile | None, FromFile | None]:
    """How weight and bias in the file become the operands of the node's call; None: they are not trained."""
    weight = constants[layer.weight]
    settings = attributes_of(node)
    if layer.op == "Conv":
        return _same, _same
    if layer.op == "MatMul":
        return (_turned if weight.ndim == 2 else _same), None
    if layer.op == "Gemm":
        alpha, beta = settings.get("alpha", 1.0), settings.get("beta", 1.0)
        if alpha != 1.0 or beta != 1.0:
            return None, None
        bias = constants.get(layer.bias)
        count = weight.shape[layer.channel_axis]
        plain = bias is not None and bias.size == count and bias.ndim == 1
        return (_same if settings.get("transB", 0) else _turned), (_same if plain else None)
    return None, None  # a transposed convolution's kernel is rebuilt for its call


def _same(value: Tensor) -> Tensor:
    return value


def _turned(value: Tensor) -> Tensor:
    return value.t().contiguous()
