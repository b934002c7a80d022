"""Whether a graph attends, and how it masks: values are weighted by a softmax, as in every transformer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from edgekit.graph.wiring import Wiring

if TYPE_CHECKING:
    import onnx

__all__ = ["attends", "masked"]

BETWEEN = frozenset({"Cast", "Dropout", "Identity", "Reshape", "Transpose", "Where"})
"""What may stand between the softmax and the product with the values."""

MASKS = frozenset({
    "Add", "Cast", "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
    "Where",
})  # fmt: skip
"""What a mask is made of on its way to the softmax."""


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


def masked(model: onnx.ModelProto) -> frozenset[str]:
    """Tensors that may rightly hold minus infinity: sums and choices (MASKS) that a Softmax alone reads, where it means
    no share at all."""
    graph = Wiring(model)

    @cache
    def is_read_by_softmax(tensor: str) -> bool:
        readers = graph.readers[tensor]
        return tensor not in graph.outputs and bool(readers) and all(
            node.op_type == "Softmax"
            or (node.op_type in MASKS and all(map(is_read_by_softmax, node.output)))
            for node in readers
        )  # fmt: skip

    return frozenset(
        name
        for node in graph.nodes
        if node.op_type in MASKS
        for name in node.output
        if is_read_by_softmax(name)
    )
