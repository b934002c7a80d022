"""Which attentions are written part by part as `litert_attention` writes them: moves, arithmetic and products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.latency.attention import AttentionReader, GraphAttention

__all__ = ["APART", "BY_HEADS", "KEYS_BY_HEADS", "KEYS_TURNED", "is_gathered", "is_written"]

FREE = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze"})
TAKING = frozenset({"Gather", "Split"})
"""What takes queries, keys or values out of one tensor."""

APART = (2, 0, 3, 1, 4)
"""Order of axes that makes of [1, places, 3, heads, channels] queries, keys and values, one behind another."""

BY_HEADS, KEYS_BY_HEADS = (0, 2, 1, 3), (0, 2, 3, 1)
"""Orders that make of [1, places, heads, channels] what products take. The first one also leads back."""

KEYS_TURNED = (0, 1, 3, 2)
"""Order of keys that are already by heads."""


def is_gathered(told: GraphAttention) -> bool:
    """Whether one Transpose of five axes brings queries, keys and values apart."""
    return APART in map(order, told.nodes)


def is_written(reader: AttentionReader, told: GraphAttention) -> bool:
    """Whether these are the very operations that a copy would have.

    Masks and guards have several forms, a division by a number becomes what the converter likes.
    """
    scores, last = told.nodes[:2]
    form, gathered = told.form, is_gathered(told)
    if form.masked or form.guarded or min(told.size) < 2 or any(node.op_type == "Div" for node in told.nodes):
        return False
    sides = [list(reversed(reader.brought(name)[1])) for name in (*scores.input, last.input[1])]
    takes = [[node for node in side if node.op_type in TAKING] for side in sides]
    if {len(nodes) for nodes in takes} != {int(form.packed)} or (gathered and not form.packed):
        return False
    if form.packed and not all(takes_part(reader, nodes[0], gathered=gathered) for nodes in takes):
        return False
    if any([node.op_type for node in side].count("Add") != form.biased for side in sides):
        return False
    moves = [tuple(order(node) for node in side if node.op_type == "Transpose") for side in sides]
    wanted = [(APART,), (APART, KEYS_TURNED), (APART,)] if gathered else [
        (BY_HEADS,), (KEYS_BY_HEADS,), (BY_HEADS,)
    ]  # fmt: skip
    scales = [node.op_type for node in told.nodes].count("Mul")
    known = FREE | TAKING | {"Add", "Mul", "Transpose"}
    return (
        moves == wanted
        and scales == len(form.scaled)
        and (form.packed or all(is_projected(reader, tensor) for tensor in told.inputs))
        and all(node.op_type in known for side in sides for node in side)
        and [order(node) for node in reader.behind(last)[0] if node.op_type not in FREE] == [BY_HEADS]
        and is_by_heads(reader, told, sides, gathered=gathered)
    )


def is_projected(reader: AttentionReader, tensor: str) -> bool:
    """Whether a layer makes a tensor for this attention alone, so that its weights can take a scale."""
    maker = reader.wires.makers.get(tensor)
    if maker is None or len(reader.wires.readers[tensor]) != 1 or tensor in reader.wires.outputs:
        return False
    if maker.op_type == "Add" and any(map(reader.is_stored, maker.input)):
        maker = reader.wires.makers.get(
            next(name for name in maker.input if not reader.is_stored(name)), maker
        )
    return maker.op_type in ("Gemm", "MatMul") and reader.is_stored(maker.input[1])


def takes_part(reader: AttentionReader, node: Any, *, gathered: bool) -> bool:
    """Whether a node takes its part along the axis that its form has: the first of five, or the last."""
    rank = len(reader.shapes.of(node.input[0]))
    axis = int(reader.shapes.attribute(node, "axis", 0)) % max(rank, 1)
    return (rank, axis) == (5, 0) if gathered else node.op_type == "Split" and (rank, axis) == (3, 2)


def is_by_heads(
    reader: AttentionReader, told: GraphAttention, sides: list[list[Any]], *, gathered: bool
) -> bool:
    """Whether what is turned first has heads and their channels last."""
    widths = told.key_width, told.key_width, told.value_width
    places = told.size[0], told.size[1], told.size[1]
    for side, count, width in zip(sides, places, widths, strict=True):
        turn = next(node for node in side if node.op_type == "Transpose")
        wanted = (1, count, 3, told.heads, width) if gathered else (1, count, told.heads, width)
        if reader.shapes.of(turn.input[0]) != wanted:
            return False
    return True


def order(node: Any) -> tuple[int, ...]:
    """Of the axes that a Transpose gives; () for others."""
    return next((tuple(entry.ints) for entry in node.attribute if entry.name == "perm"), ())
