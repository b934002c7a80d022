"""Nodes of a graph around one another, as reading its units needs them: who reads what, and what belongs together."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edgekit.latency.shapes import Shapes

if TYPE_CHECKING:
    import onnx

__all__ = ["Wires"]

MAKE_HEADS = frozenset({"Gather", "MatMul", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""What gives a tensor of four axes that is no image, where attention has its heads."""

PASS_BY = frozenset({"Add", "Cast", "Div", "Dropout", "Identity", "Mul", "Softmax", "Sub", "Where"})
"""What leaves a tensor an image, or heads, as it was."""

GELU = ("Erf", "Add", "Mul", "Mul")


class Wires:
    """`places`: of each node in the graph, by its id."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.shapes = Shapes(model)
        self.readers: dict[str, list[Any]] = defaultdict(list)
        self.makers = {name: node for node in self.nodes for name in node.output}
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {port.name for port in model.graph.output}
        self.places = {id(node): place for place, node in enumerate(self.nodes)}

    def only_reader(self, node: Any) -> Any:
        """The node that alone reads the output of this one; None where there are others."""
        readers = self.readers[node.output[0]]
        return readers[0] if len(readers) == 1 and node.output[0] not in self.outputs else None

    def is_constant(self, node: Any) -> bool:
        """Whether a node computes with stored numbers alone."""
        return all(name in self.shapes.weights or not name for name in node.input)

    def computed(self, node: Any) -> list[str]:
        """The inputs of a node that are not stored."""
        return [name for name in node.input if name and name not in self.shapes.weights]

    def gelu_of(self, tensor: str) -> list[Any]:
        """The nodes of x · (1 + erf(x / √2)) / 2 on a tensor that nothing else reads, as torch writes it; else []."""
        readers = self.readers[tensor]
        if len(readers) != 2 or tensor in self.outputs:
            return []
        nodes = [node for node in readers if node.op_type == "Div" or self.scale_of(node) is not None][:1]
        while nodes and len(nodes) <= len(GELU) and (after := self.only_reader(nodes[-1])) is not None:
            nodes.append(after)
        fits = tuple(node.op_type for node in nodes[1:]) == GELU and tensor in nodes[3].input
        return nodes if fits else []

    def scale_of(self, node: Any) -> Any:
        """Node that multiplies or divides a single tensor by a stored number: `node` itself; else None."""
        if node is None or node.op_type not in ("Mul", "Div"):
            return None
        stored = [name for name in node.input if name in self.shapes.weights]
        single = len(stored) == 1 and len(node.input) == 2 and self.values(stored[0]) == 1
        return node if single and (node.op_type == "Mul" or node.input[1] == stored[0]) else None

    def scales_before(self, product: Any) -> list[Any]:
        """Nodes that multiply an input of a product by a number for this product alone, also ahead of a Transpose."""
        scales = []
        for name in product.input:
            maker, reader = self.makers.get(name), product
            if maker is not None and maker.op_type == "Transpose" and self.only_reader(maker) is reader:
                maker, reader = self.makers.get(maker.input[0]), maker
            if self.scale_of(maker) is not None and self.only_reader(maker) is reader:
                scales.append(maker)
        return scales

    def scales_product(self, node: Any) -> bool:
        """Whether a node is among the `scales_before` of a product of two activations."""
        after = self.only_reader(node)
        if after is not None and after.op_type == "Transpose":
            after = self.only_reader(after)
        return (
            self.is_product(after)
            and len(self.computed(after)) == 2
            and any(scale is node for scale in self.scales_before(after))
        )

    def turns_for_product(self, node: Any) -> bool:
        """Whether a node is the Transpose that a product of one head has `turned_for` it."""
        after = self.only_reader(node)
        if self.scale_of(after) is not None:
            after = self.only_reader(after)
        return self.is_product(after) and self.turned_for(after) is node

    def is_product(self, node: Any) -> bool:
        return node is not None and node.op_type == "MatMul"

    def turned_for(self, product: Any) -> Any:
        """The Transpose of the last two axes that the right side of a product of one head alone reads, or its scale."""
        right, reader = self.shapes.of(product.input[1]), product
        maker = self.makers.get(product.input[1])
        if self.scale_of(maker) is not None and self.only_reader(maker) is reader:
            maker, reader = self.makers.get(self.computed(maker)[0]), maker
        if maker is None or maker.op_type != "Transpose" or self.only_reader(maker) is not reader:
            return None
        rank = len(right)
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        order = tuple(int(axis) for axis in self.shapes.attribute(maker, "perm", ()))
        return maker if order == swapped and self.values(product.input[1]) == right[-2] * right[-1] else None

    def values(self, tensor: str) -> int:
        """How many values a tensor of known shape has."""
        count = 1
        for size in self.shapes.of(tensor):
            count *= size
        return count

    def is_image(self, tensor: str) -> bool:
        """Whether a tensor has its channels second, and height and width behind them."""
        if len(self.shapes.of(tensor)) != 4:
            return False
        maker = self.makers.get(tensor)
        while maker is not None and maker.op_type in PASS_BY:
            before = self.computed(maker)
            maker = self.makers.get(before[0]) if before else None
        return maker is None or maker.op_type not in MAKE_HEADS
