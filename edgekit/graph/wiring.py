"""Who makes and who reads each tensor of a graph, and which of its layers stand between Q/DQ."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.layers import WEIGHTED

if TYPE_CHECKING:
    import onnx

__all__ = ["Coverage", "Wiring", "coverage"]

PASSES = frozenset({
    "Concat", "DepthToSpace", "Flatten", "GlobalMaxPool", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice",
    "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operations that move values without computing: int8 goes through them (Pad: of zeros, Resize: nearest only)."""


class Wiring:
    """Who makes and who reads each tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        graph = model.graph
        self.nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {port.name for port in graph.output}
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self._array = numpy_helper.to_array

    def array(self, name: str) -> Any:
        return self._array(self.constants[name])

    def is_constant(self, name: str) -> bool:
        return name in self.constants

    def passes(self, node: Any) -> bool:
        """Whether int8 goes through this node unchanged."""
        if node.op_type not in PASSES:
            return False
        settings = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Pad":
            constant = "mode" not in settings or settings["mode"].s == b"constant"
            value = node.input[2] if len(node.input) > 2 else ""
            return constant and (not value or (self.is_constant(value) and not np.any(self.array(value))))
        if node.op_type == "Resize":
            return "mode" not in settings or settings["mode"].s == b"nearest"
        if node.op_type == "Concat":
            return not any(self.is_constant(name) for name in node.input)
        return True

    def moved(self, node: Any) -> list[int]:
        """Positions of the inputs whose values go through: all of a Concat, the first of others."""
        return list(range(len(node.input))) if node.op_type == "Concat" else [0]


@dataclass(frozen=True)
class Coverage:
    """Convolutions and matrix products by node name: those that read dequantized int8 on both sides, and the others."""

    quantized: tuple[str, ...]
    in_float: tuple[str, ...]


def coverage(model: onnx.ModelProto) -> Coverage:
    """Count, in a graph with Q/DQ, which layers stand behind DequantizeLinear on their data and their weights."""
    graph = Wiring(model)

    def dequantized(name: str) -> bool:
        maker = graph.producer.get(name)
        if maker is None:
            return False
        if maker.op_type == "DequantizeLinear":
            return True
        return graph.passes(maker) and all(dequantized(maker.input[at]) for at in graph.moved(maker))

    quantized: list[str] = []
    in_float: list[str] = []
    for node in graph.nodes:
        if node.op_type in WEIGHTED:
            whole = all(dequantized(name) for name in node.input[:2])
            (quantized if whole else in_float).append(node.name)
    return Coverage(tuple(quantized), tuple(in_float))
