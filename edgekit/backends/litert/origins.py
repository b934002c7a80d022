"""Which nodes of an ONNX network an operation of its .tflite computes, and so which of these stay float."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.backends.litert.flatbuffer import COMPUTE, Op
from edgekit.graph.layers import ACTIVATIONS, WEIGHTED
from edgekit.graph.wiring import Wiring

if TYPE_CHECKING:
    import onnx

__all__ = ["Origins", "kept_in_file"]

PADS = frozenset({"PAD", "PADV2"})
PASSES = PADS | {
    "BROADCAST_TO", "EXPAND_DIMS", "GATHER", "RESHAPE", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE",
    "TRANSPOSE", "UNPACK",
}  # fmt: skip
"""TFLite's names of paddings, and of all that passes values on as they are."""

GIVES_FLOAT = frozenset({"EMBEDDING_LOOKUP"})
"""What gives float whatever it has stored."""

MOVES = frozenset({
    "Cast", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
"""ONNX's names of the same."""

LOGIC = frozenset({
    "And", "ConstantOfShape", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not",
    "Or", "Range", "Shape", "Xor",
})  # fmt: skip
"""ONNX's names of what calculates no float."""


class Origins:
    """Tensors of the file have the names of the ONNX tensors with the same values, where there are such. What computes
    one without belongs to the nodes between the named ones around it: a normalization is one node and nine operations,
    and its last result may be lost in the weights of the layer behind."""

    def __init__(self, ops: Sequence[Op], model: onnx.ModelProto) -> None:
        self.ops = ops
        self.graph = Wiring(model)
        self.makers = {output.name: op for op in ops for output in op.outputs}
        self.readers: dict[str, list[Op]] = defaultdict(list)
        for op in ops:
            for tensor in op.inputs:
                self.readers[tensor.name].append(op)

    def nodes_of(self, op: Op) -> frozenset[str]:
        """Names of the nodes that decide in which precision an operation computes.

        Those that multiply of one that does, those that only move values of one that does no more, else the others.
        """
        multiplies = op.kind in COMPUTE
        reached = [node for tensor in self._named_behind(op) for node in self._between(tensor, op)]
        products = [node for node in reached if node.op_type in WEIGHTED]
        if multiplies and products:
            return frozenset(node.name for node in products)
        if op.kind in PASSES:
            return frozenset(node.name for node in reached if node.op_type in MOVES)
        others = [node for node in reached if node.op_type not in {*WEIGHTED, *MOVES, *LOGIC}]
        # Activations run with what is before them.
        alone = [node for node in others if node.op_type not in ACTIVATIONS]
        return frozenset(node.name for node in alone or others)

    def in_operations_of_their_own(self) -> frozenset[str]:
        """Names of the nodes that are more than a part of what multiplies."""
        return frozenset(name for op in self.ops if op.kind not in COMPUTE for name in self.nodes_of(op))

    def _named_behind(self, op: Op) -> Iterator[str]:
        """The first tensors from an operation on that the ONNX network has too."""
        waiting, seen = [output.name for output in op.outputs], set[str]()
        while waiting:
            tensor = waiting.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            if tensor in self.graph.producer:
                yield tensor
            else:
                waiting += [
                    output.name for reader in self.readers.get(tensor, ()) for output in reader.outputs
                ]

    def _between(self, tensor: str, op: Op) -> list[Any]:
        """Nodes before a named tensor that `op` may compute: up to the tensors that the file has. Where a product makes
        the tensor, what runs with it is the product's, and what stands before it is that of operations before."""
        last = self.makers.get(tensor)
        own: list[Any] = []
        before: list[Any] = []
        waiting, seen = [(tensor, own)], set[int]()
        while waiting:
            name, into = waiting.pop()
            node = self.graph.producer.get(name)
            if node is None or id(node) in seen or (name != tensor and name in self.makers):
                continue
            seen.add(id(node))
            into.append(node)
            ends = last is not None and last.kind in COMPUTE and node.op_type in WEIGHTED
            waiting += [(source, before if ends else into) for source in node.input]
        if last is None or last.kind not in COMPUTE:
            return own
        return own if last is op else before


def kept_in_file(ops: Sequence[Op], model: onnx.ModelProto, in_float: Collection[str]) -> tuple[str, ...]:
    """By which tensors the operations of the file are found that stay float where these nodes of the ONNX network do.

    What passes values on stays float between operations that do: rounding there would serve nobody. So does a padding
    before a layer in float that it alone reads: the converter puts one there where TFLite has no name for the layer's
    own.
    """
    origins = Origins(ops, model)
    kept: dict[str, None] = {}
    for op in ops:
        nodes = origins.nodes_of(op)
        if nodes and nodes <= set(in_float):
            kept[op.name] = None

    def made_in_float(op: Op) -> bool:
        makers = [origins.makers[tensor.name] for tensor in op.inputs if tensor.name in origins.makers]
        return any(
            made_in_float(maker) if maker.kind in PASSES else maker.kind in GIVES_FLOAT or maker.name in kept
            for maker in makers
        )

    def read_in_float(op: Op) -> bool:
        readers = [reader for output in op.outputs for reader in origins.readers.get(output.name, ())]
        return not readers or any(
            read_in_float(reader) if reader.kind in PASSES else reader.name in kept for reader in readers
        )

    passing = [op for op in ops if op.kind in PASSES and op.name not in kept]
    between = [op.name for op in passing if made_in_float(op) and read_in_float(op)]
    kept.update(dict.fromkeys(between))
    for op in passing:
        readers = origins.readers.get(op.name, ())
        if op.kind in PADS and readers and all(reader.name in kept for reader in readers):
            kept[op.name] = None
    return tuple(kept)
