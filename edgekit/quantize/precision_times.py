"""What layers cost in float instead of int8 on one device: numbers alone, whoever measured them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

__all__ = ["Border", "PrecisionTimes", "SwitchableUnit", "UnitPlace"]

UnitPlace = int | None
"""Of a unit in `PrecisionTimes.units`; None: outside of the network, where all is float."""


@dataclass(frozen=True)
class SwitchableUnit:
    """ONNX nodes that a runtime runs at once, the multiplying one first.

    `extra_ms`: its time in float less its time in int8, below zero where float is the faster one; None: not known, or
    the unit has one precision alone.
    """

    nodes: tuple[str, ...]
    extra_ms: float | None


@dataclass(frozen=True)
class Border:
    """A tensor that one unit makes and others read. `ms`: of bringing it from one precision to the other, once."""

    tensor: str
    maker: int | None
    readers: tuple[int | None, ...]
    ms: float

    def is_crossed(self, in_float: Collection[UnitPlace]) -> bool:
        """Whether it is brought into another precision; `in_float` are places, None among them."""
        made = self.maker in in_float
        return any((reader in in_float) != made for reader in self.readers)

    def is_rounded(self, in_float: Collection[UnitPlace], *, rounds_results: bool) -> bool:
        """Whether its values pass through int8."""
        reads = any(reader not in in_float for reader in self.readers)
        return reads or (rounds_results and self.maker not in in_float)


@dataclass(frozen=True)
class PrecisionTimes:
    """Of one network in one runtime on one device. `int8_ms`: the units' sum with all of them in int8.

    `rounds_results`: what a unit in int8 makes is int8, also where float alone reads it. `measured_on`: in words.
    """

    units: tuple[SwitchableUnit, ...]
    borders: tuple[Border, ...]
    int8_ms: float
    rounds_results: bool
    measured_on: str

    def extra_ms(self, in_float: Collection[UnitPlace], besides: Collection[UnitPlace]) -> float:
        """What these units in float take beyond the network where only those of `besides` are; None is in both."""
        own = sum(self.units[place].extra_ms or 0.0 for place in in_float if place is not None)
        own -= sum(self.units[place].extra_ms or 0.0 for place in besides if place is not None)
        return own + self.borders_ms(in_float) - self.borders_ms(besides)

    def borders_ms(self, in_float: Collection[UnitPlace]) -> float:
        """Of all tensors that are brought into another precision."""
        return sum(border.ms for border in self.borders if border.is_crossed(in_float))

    def noise(
        self, in_float: Collection[UnitPlace], weights: Mapping[str, float], tensors: Mapping[str, float]
    ) -> float:
        """What int8 adds at the outputs where these units are in float: rounded weights by node, rounded tensors."""
        own = sum(
            weights.get(node, 0.0)
            for place, unit in enumerate(self.units)
            if place not in in_float
            for node in unit.nodes
        )
        return own + sum(
            tensors.get(border.tensor, 0.0)
            for border in self.borders
            if border.is_rounded(in_float, rounds_results=self.rounds_results)
        )
