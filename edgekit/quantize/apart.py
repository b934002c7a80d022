"""Concatenations of tensors that no common scale can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.graph.wiring import Wiring
from edgekit.quantize.observers.ranges import Range
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    from edgekit.quantize.measured import MeasuredNetwork
    from edgekit.quantize.recipe import Recipe

__all__ = ["MOST_APART", "mixed_scales"]

MOST_APART = 16.0
"""Inputs of a Concat may differ by this factor in width: of the 256 steps of the widest, 16 are left to another."""

SINGLE_OUT = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Split"})
"""What may take the parts from each other again: their readers have a scale of their own."""

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What mixes the parts: behind it there is one tensor again."""


def mixed_scales(
    measured: MeasuredNetwork, recipe: Recipe, *, symmetric: bool = False
) -> tuple[FloatLayer, ...]:
    """Nodes that stay float since what they join has no common scale: boxes beside scores, say.

    A Concat whose inputs' ranges (zero included) differ in width by more than MOST_APART, and all behind it up to
    what takes the parts from each other (SINGLE_OUT) or mixes them (COMPUTE): one scale for the whole would leave
    nothing of the narrowest. Inputs that are constant or always zero do not count. `symmetric`: as the runtime has
    its ranges.
    """
    graph = Wiring(measured.model)
    joins = [node for node in graph.nodes if node.op_type == "Concat"]
    ranges = measured.ranges(recipe, symmetric=symmetric) if joins else {}
    mixed: dict[str, None] = {}
    for node in joins:
        if _apart(node, ranges):
            _follow(graph, node, mixed)
    return tuple(FloatLayer(node.name, "apart") for node in graph.nodes if node.name in mixed)


def _apart(node: Any, ranges: Mapping[str, Range]) -> bool:
    spans = [
        max(ranges[name].high, 0.0) - min(ranges[name].low, 0.0) for name in node.input if name in ranges
    ]
    widths = [width for width in spans if width > 0.0]
    return len(widths) > 1 and max(widths) > MOST_APART * min(widths)


def _follow(graph: Wiring, node: Any, mixed: dict[str, None]) -> None:
    if node.name in mixed:
        return
    mixed[node.name] = None
    if node.op_type in SINGLE_OUT or node.op_type in COMPUTE:
        return
    for reader in (reader for name in node.output for reader in graph.readers[name]):
        _follow(graph, reader, mixed)
