"""Which layer of the torch network a unit of its exported graph stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.latency.unit import Unit

__all__ = ["layer_name", "told_once"]


def told_once(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """With no layer for units that are called by a parameter which a unit called by its node has too.

    Equal parameters are stored once, and those of zeros may be left out of the one layer and stay in the other.
    """
    by_node = {unit.layer for unit in units if unit.nodes[0].startswith("/")}
    return tuple(
        replace(unit, layer="") if unit.layer in by_node and not unit.nodes[0].startswith("/") else unit
        for unit in units
    )


def layer_name(node: str, weight: str, bias: str) -> str:
    """The torch module of a layer: by its node's name, `/a/a.0/conv/Conv` for `a.0.conv`, else by its parameters'.

    Folding batch normalization into a weight takes the weight's name, and merging a product with its bias the node's.
    """
    if node.startswith("/") and node.count("/") > 1:
        names: list[str] = []
        for part in node.strip("/").split("/")[:-1]:
            if names and part.startswith(f"{names[-1]}."):
                names[-1] = part
            else:
                names.append(part)
        return ".".join(names)
    for parameter, ending in ((weight, ".weight"), (bias, ".bias")):
        if parameter.endswith(ending):
            return parameter.removesuffix(ending)
    return ""
