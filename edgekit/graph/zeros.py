"""Zeros among the weights of an ONNX graph: how many, and which layers have them 2:4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.layers import WEIGHTED
from edgekit.graph.wiring import Wiring

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["count_zeros", "sparse_layers"]

STORING = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"})
"""Operations that may stand between stored weights and their layer. Zero stays zero in them: weights of a network that
edgekit quantized have a zero point of 0 wherever 2:4 counts."""

GROUP = 4


def count_zeros(model: onnx.ModelProto) -> tuple[int, int]:
    """Of the stored weights of all layers that multiply: how many are zero, and how many there are."""
    wiring = Wiring(model)
    stored = {name: wiring.array(name) for _, name in _weights(wiring)}
    return (
        sum(int((values == 0).sum()) for values in stored.values()),
        sum(values.size for values in stored.values()),
    )


def sparse_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Layers of which at least two of each four weights are zero that are neighbours along the input channels.

    As sparse tensor cores want them: for each output channel and place in the kernel (NVIDIA TensorRT documentation,
    "Structured Sparsity"). Grouped convolutions are none.
    """
    wiring = Wiring(model)
    return tuple(node.name for node, name in _weights(wiring) if _is_two_of_four(node, wiring.array(name)))


def _weights(wiring: Wiring) -> list[tuple[Any, str]]:
    """Layers with constant weights, and under which name these are stored."""
    layers = []
    for node in wiring.nodes:
        if node.op_type not in WEIGHTED or wiring.is_constant(node.input[0]):
            continue
        name = node.input[1]
        while name in wiring.producer and wiring.producer[name].op_type in STORING:
            name = wiring.producer[name].input[0]
        if wiring.is_constant(name):
            layers.append((node, name))
    return layers


def _is_two_of_four(node: Any, values: NDArray[Any]) -> bool:
    settings = {
        attribute.name: attribute.i for attribute in node.attribute if attribute.name in ("group", "transB")
    }
    if node.op_type == "ConvTranspose" or settings.get("group", 1) != 1 or values.ndim < 2:
        return False
    axis = -2 if node.op_type == "MatMul" else 1
    if node.op_type == "Gemm" and not settings.get("transB", 0):
        axis = 0
    last = np.moveaxis(values, axis, -1)
    if last.shape[-1] % GROUP:
        return False
    return bool(((last == 0).reshape(*last.shape[:-1], -1, GROUP).sum(-1) >= GROUP // 2).all())
