"""Arithmetic between the products of a network that attends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.graph.attention import attends
from edgekit.graph.wiring import Wiring
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

__all__ = ["between_products"]

ARITHMETIC = frozenset({"Add", "Clip", "Concat", "Div", "LeakyRelu", "Mul", "Sigmoid", "Sub"})
CONVOLVES = frozenset({"Conv", "ConvTranspose"})


def between_products(model: onnx.ModelProto) -> tuple[FloatLayer, ...]:
    """Nodes that stay float since they sum or scale what a transformer passes on from block to block; none elsewhere.

    A few of its features are far larger than the rest (Bondarenko et al. 2021, arXiv:2109.12948), so one scale leaves
    little of them; and a sum in integers saves next to nothing beside the products. NNCF leaves them out for its model
    type "transformer" too. What stands beside a convolution is that one's affair, as in networks that have both.
    """
    if not attends(model):
        return ()
    graph = Wiring(model)

    def convolved(name: str) -> bool:
        maker = graph.producer.get(name)
        return maker is not None and maker.op_type in CONVOLVES

    return tuple(
        FloatLayer(node.name, "stream")
        for node in graph.nodes
        if node.op_type in ARITHMETIC
        and not any(map(convolved, node.input))
        and not any(reader.op_type in CONVOLVES for name in node.output for reader in graph.readers[name])
    )
