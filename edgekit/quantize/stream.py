"""Arithmetic between the products of a network that attends."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from edgekit.graph.attention import attends
from edgekit.graph.wiring import Wiring
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

__all__ = ["ARITHMETIC", "FUNCTIONS", "between_products", "functions"]

ARITHMETIC = frozenset({"Add", "Clip", "Concat", "Div", "LeakyRelu", "Mul", "Sigmoid", "Sub"})
CONVOLVES = frozenset({"Conv", "ConvTranspose"})
FUNCTIONS = frozenset({
    "Erf", "Exp", "Gelu", "LayerNormalization", "Pow", "RMSNormalization", "Reciprocal", "ReduceMax", "ReduceMean",
    "ReduceSum", "SimplifiedLayerNormalization", "Softmax", "Sqrt", "Tanh", "Where",
})  # fmt: skip
"""What normalizations, softmax and GELU are, in whole or in the parts that exporters write them in, and masking."""


def between_products(model: onnx.ModelProto) -> tuple[FloatLayer, ...]:
    """Nodes that stay float since they sum or scale what a transformer passes on from block to block; none elsewhere.

    A few of its features are far larger than the rest (Bondarenko et al. 2021, arXiv:2109.12948), so one scale leaves
    little of them; and a sum in integers saves next to nothing beside the products. NNCF leaves them out for its model
    type "transformer" too. What stands beside a convolution is that one's affair, as in networks that have both.
    """
    return tuple(FloatLayer(name, "stream") for name in _beside_products(model, ARITHMETIC))


def functions(model: onnx.ModelProto) -> tuple[FloatLayer, ...]:
    """Normalizations, softmax, GELU, masking and means over tokens of a network that attends; none elsewhere. For
    runtimes whose integer kernels for them gain nothing."""
    return tuple(FloatLayer(name, "runtime") for name in _beside_products(model, FUNCTIONS))


def _beside_products(model: onnx.ModelProto, kinds: Collection[str]) -> Iterator[str]:
    """Nodes of these kinds, in a network that attends, that no convolution makes or reads."""
    if not attends(model):
        return
    graph = Wiring(model)
    for node in graph.nodes:
        makers = [graph.producer[name] for name in node.input if name in graph.producer]
        readers = [reader for name in node.output for reader in graph.readers[name]]
        if node.op_type in kinds and not any(other.op_type in CONVOLVES for other in (*makers, *readers)):
            yield node.name
