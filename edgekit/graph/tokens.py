"""Which inputs of an ONNX network pick rows of a table, as token ids do."""

from __future__ import annotations

from pathlib import Path

from edgekit.graph.proto import read_model

__all__ = ["vocabularies"]

SAME_VALUES = frozenset(("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"))
"""Operators behind which ids are still the ones that came in."""


def vocabularies(path: str | Path) -> dict[str, int]:
    """Input → rows of the smallest table of weights that it picks from. Raises ModelError for what is no ONNX file."""
    graph = read_model(Path(path), external=False).graph
    rows = {weight.name: weight.dims[0] for weight in graph.initializer if len(weight.dims) == 2}
    came_of = {value.name: value.name for value in graph.input}
    picked: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in SAME_VALUES and node.input and node.input[0] in came_of:
            came_of[node.output[0]] = came_of[node.input[0]]
        is_table = node.op_type == "Gather" and node.input[0] in rows and node.input[1] in came_of
        if is_table and all(attribute.i == 0 for attribute in node.attribute if attribute.name == "axis"):
            name = came_of[node.input[1]]
            picked[name] = min(picked.get(name, rows[node.input[0]]), rows[node.input[0]])
    return picked
