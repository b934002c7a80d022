"""Whether a graph attends: values weighted by a softmax, as every transformer does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.graph.wiring import Wiring

if TYPE_CHECKING:
    import onnx

__all__ = ["attends"]

BETWEEN = frozenset({"Cast", "Dropout", "Identity", "Reshape", "Transpose", "Where"})
"""What may stand between the softmax and the product with the values."""


def attends(model: onnx.ModelProto) -> bool:
    """Whether the output of some Softmax goes into a matrix product whose other input is computed too."""
    graph = Wiring(model)
    waiting = [name for node in graph.nodes if node.op_type == "Softmax" for name in node.output]
    seen = set(waiting)
    while waiting:
        tensor = waiting.pop()
        for node in graph.readers[tensor]:
            if node.op_type in ("Einsum", "MatMul") and not any(map(graph.is_constant, node.input)):
                return True
            if node.op_type in BETWEEN:
                fresh = [name for name in node.output if name not in seen]
                seen.update(fresh)
                waiting.extend(fresh)
    return any(node.op_type in ("Attention", "MultiHeadAttention") for node in graph.nodes)
