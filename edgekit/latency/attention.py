"""Attentions of an ONNX graph: two products of activations, a softmax between them, and what brings values there.

Runtimes run them together, or parts of them (OpenVINO all of it as one subgraph, ONNX Runtime a product with its
scale), so all is one unit: from the tensors that the projections make to the one that the last projection reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.latency.unit import AttentionForm, Scaled

if TYPE_CHECKING:
    from edgekit.latency.wires import Wires

__all__ = ["AttentionReader", "GraphAttention"]

MOVING = frozenset({"Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""What may stand between a projection and a product."""

SCALING = frozenset({"Mul", "Div"})


@dataclass(frozen=True)
class GraphAttention:
    """One attention. `nodes`: the two products first.

    `inputs`: queries, keys and values as their projections make them. `size`: how many queries and keys; `key_width`,
    `value_width`: of each head.
    """

    nodes: tuple[Any, ...]
    inputs: tuple[str, str, str]
    output: str
    heads: int
    size: tuple[int, int]
    key_width: int
    value_width: int
    form: AttentionForm


class AttentionReader:
    """Finds attentions in a graph, by its `wires`."""

    def __init__(self, wires: Wires) -> None:
        self.wires, self.shapes = wires, wires.shapes

    def read(self) -> tuple[GraphAttention, ...]:
        """Those whose parts are understood; of others the products and the softmax are units by themselves."""
        told = (self.around(node) for node in self.wires.nodes if node.op_type == "Softmax")
        return tuple(attention for attention in told if attention is not None)

    def around(self, softmax: Any) -> GraphAttention | None:
        """The attention that a softmax belongs to."""
        scores, scaled, masked = self.scores(softmax.input[0])
        guard = self.guard(softmax)
        last = self.wires.only_reader(guard[-1] if guard else softmax)
        if scores is None or last is None or last.op_type != "MatMul" or self.is_stored(last.input[1]):
            return None
        if last.input[0] != (guard[-1] if guard else softmax).output[0]:
            return None
        sides = [self.brought(name) for name in (*scores[0].input, last.input[1])]
        after, output = self.behind(last)
        nodes = [
            scores[0],
            last,
            softmax,
            *guard,
            *scores[1:],
            *(node for side in sides for node in side[1]),
            *after,
        ]
        nodes = list({id(node): node for node in nodes}.values())
        queries, keys, values = (self.shapes.of(name) for name in (*scores[0].input, last.input[1]))
        if min(len(queries), len(keys), len(values)) < 3 or not self.is_closed(nodes, output):
            return None
        if len({shape[:-2] for shape in (queries, keys, values)}) != 1:
            return None
        heads = math.prod(queries[:-2])
        inputs = sides[0][0], sides[1][0], sides[2][0]
        places: tuple[tuple[Scaled, bool], ...] = (
            ("queries", sides[0][2]), ("keys", sides[1][2]), ("scores", scaled)
        )  # fmt: skip
        scales = tuple(place for place, is_there in places if is_there)
        biased = any(node.op_type == "Add" for side in sides for node in side[1])
        form = AttentionForm(scales, masked, packed=len(set(inputs)) == 1, biased=biased, guarded=bool(guard))
        told = GraphAttention(
            tuple(nodes), inputs, output, heads, (queries[-2], keys[-1]), queries[-1], values[-1], form
        )
        return told if self.is_split_by_heads(told) else None

    def scores(self, tensor: str) -> tuple[list[Any] | None, bool, bool]:
        """The product that makes what the softmax reads and what is between, product first; scaled; masked."""
        between: list[Any] = []
        scaled = masked = False
        while (node := self.wires.makers.get(tensor)) is not None:
            if node.op_type == "MatMul" and not any(map(self.is_stored, node.input)):
                return [node, *between], scaled, masked
            live = [name for name in node.input if name and not self.is_stored(name)]
            if len(live) == 1 and self.scales(node):
                scaled, tensor = True, live[0]
            elif node.op_type == "Add" and not masked:
                masked = True
                tensor = max(node.input, key=self.leads_to_product)
            else:
                break
            between.append(node)
        return None, scaled, masked

    def guard(self, softmax: Any) -> list[Any]:
        """What makes zeros of the weights of a query that is masked from all keys, as torch writes it; or nothing."""
        name = softmax.output[0]
        kinds = {node.op_type: node for node in self.wires.readers[name]}
        if set(kinds) != {"IsNaN", "Where"} or len(self.wires.readers[name]) != 2:
            return []
        tests, chooses = kinds["IsNaN"], kinds["Where"]
        expected = [tests.output[0], name]
        is_guard = [chooses.input[0], chooses.input[2]] == expected and self.is_stored(chooses.input[1])
        return [tests, chooses] if is_guard else []

    def leads_to_product(self, tensor: str) -> bool:
        """Whether a product makes a tensor, scaled perhaps."""
        node = self.wires.makers.get(tensor)
        if node is not None and node.op_type in SCALING:
            node = self.wires.makers.get(node.input[0])
        return node is not None and node.op_type == "MatMul"

    def brought(self, tensor: str) -> tuple[str, list[Any], bool]:
        """The tensor that a projection made, the nodes from there to here, and whether they scale it.

        Where one product makes queries, keys and values, biases are added to its parts.
        """
        between: list[Any] = []
        scaled = False
        while (node := self.wires.makers.get(tensor)) is not None:
            live = [name for name in node.input if name and not self.is_stored(name)]
            if len(live) != 1 or not (
                self.scales(node) or node.op_type in MOVING or self.adds_bias(node, live[0])
            ):
                break
            scaled = scaled or self.scales(node)
            between.append(node)
            tensor = live[0]
        return tensor, between, scaled

    def behind(self, node: Any) -> tuple[list[Any], str]:
        """What moves the result of the last product to where a projection reads it, and that tensor."""
        after: list[Any] = []
        while (reader := self.wires.only_reader(node)) is not None and reader.op_type in MOVING:
            after.append(reader)
            node = reader
        return after, str(node.output[0])

    def is_closed(self, nodes: Sequence[Any], output: str) -> bool:
        """Whether nobody else reads what is made within."""
        inside = {id(node) for node in nodes}
        made = {str(name) for node in nodes for name in node.output if name} - {output}
        return made.isdisjoint(self.wires.outputs) and all(
            id(reader) in inside for name in made for reader in self.wires.readers[name]
        )

    def is_split_by_heads(self, told: GraphAttention) -> bool:
        """Whether the channels of the tensors around it are those of all heads, and nothing else."""
        widths = [told.heads * told.key_width] * 2 + [told.heads * told.value_width]
        if told.form.packed:
            widths = [sum(widths)] * 3
        around = [self.shapes.of(name) for name in (*told.inputs, told.output)]
        return all(
            len(shape) in (2, 3) and shape[-1] == width
            for shape, width in zip(around, [*widths, told.heads * told.value_width], strict=True)
        )

    def is_stored(self, name: str) -> bool:
        maker = self.wires.makers.get(name)
        return name in self.shapes.weights or (maker is not None and maker.op_type == "Constant")

    def adds_bias(self, node: Any, live: str) -> bool:
        """Whether a node adds a stored vector to a part of a tensor."""
        maker = self.wires.makers.get(live)
        return node.op_type == "Add" and maker is not None and maker.op_type == "Split"

    def scales(self, node: Any) -> bool:
        """Whether a node multiplies by a stored number."""
        return node.op_type in SCALING and any(
            self.is_stored(name) and math.prod(self.shapes.of(name)) == 1 for name in node.input
        )
