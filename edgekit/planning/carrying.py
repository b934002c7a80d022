"""Which tensors of a network hold the channels of a group: what stands between its layers keeps them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from edgekit.latency import Unit
from edgekit.planning.coupling import Coupling, GroupChannels

__all__ = ["CarriedChannels", "packed_layers"]

Node = TypeVar("Node", bound=Hashable)

_Place = tuple[str, int]
"""A tensor and how many channels it has there."""


class CarriedChannels:
    """Sides of groups by tensor. A stream goes through norms, sums and what only moves values, which name no layer.

    `carried`: see `NetworkUnits`. What the layers at any of a stream's tensors say of it holds for all of them.
    """

    def __init__(
        self, units: Sequence[Unit], coupling: Coupling, carried: Mapping[str, Sequence[str]]
    ) -> None:
        self._same: dict[str, str] = {}
        self._joined: dict[_Place, _Place] = {}
        for name, sources in carried.items():
            for source in sources:
                self._same[_root(self._same, name)] = _root(self._same, source)
        for unit in units:
            if not unit.layer and unit.family.is_square:
                for name in unit.inputs:
                    made = self._place(unit.output, unit.channels_out)
                    self._joined[self._place(name, unit.channels_in)] = made
        self._sides: dict[_Place, GroupChannels] = {}
        for unit in units:
            if unit.layer in coupling.reads:
                at = self._place(unit.inputs[0], unit.channels_in)
                self._sides.setdefault(at, coupling.reads[unit.layer])
            if unit.layer in coupling.makes:
                at = self._place(unit.output, unit.channels_out)
                self._sides.setdefault(at, coupling.makes[unit.layer])

    def side(self, tensor: str, channels: int) -> GroupChannels | None:
        """What a tensor with so many channels has of a group."""
        return self._sides.get(self._place(tensor, channels))

    def _place(self, tensor: str, channels: int) -> _Place:
        return _root(self._joined, (_root(self._same, tensor), channels))


def packed_layers(units: Sequence[Unit], coupling: Coupling, carried: CarriedChannels) -> frozenset[str]:
    """Layers that exporters have packed into one product: those of the attentions that no unit is called by.

    None where there are not as many products without a name that read a stream.
    """
    named = {unit.layer for unit in units}
    packed = [attention.makers for attention in coupling.attentions if named.isdisjoint(attention.makers)]
    products = [
        unit
        for unit in units
        if not unit.layer
        and unit.family.kind == "linear"
        and carried.side(unit.inputs[0], unit.channels_in) is not None
    ]
    return frozenset(layer for makers in packed for layer in makers if len(packed) == len(products))


def _root(parents: Mapping[Node, Node], node: Node) -> Node:
    while parents.get(node, node) != node:
        node = parents[node]
    return node
