"""What layers cost in float instead of int8 on one device: numbers alone, whoever measured them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

__all__ = ["Border", "Noise", "PrecisionTimes", "SwitchableUnit", "UnitPlace"]

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


@dataclass(frozen=True)
class Noise:
    """What int8 adds at the network's outputs, over what is there: energies. `weights`: by node, each alone rounded;
    `tensors`: by tensor, rounded for all who read it; `reads`: by tensor and node, rounded for that reader alone, of
    tensors that have several."""

    weights: Mapping[str, float]
    tensors: Mapping[str, float]
    reads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of_layers(self, unit: SwitchableUnit) -> float:
        """Of its rounded weights."""
        return sum(self.weights.get(node, 0.0) for node in unit.nodes)

    def of_reading(self, tensor: str, unit: SwitchableUnit) -> float:
        """Of a tensor that is rounded for this unit alone."""
        apart = self.reads.get(tensor, {})
        own = [apart[node] for node in unit.nodes if node in apart]
        return sum(own) if own else self.tensors.get(tensor, 0.0)


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

    def corrected(
        self, own: float, borders: float, unit_ms: float, int8_ms: float, measured_on: str
    ) -> PrecisionTimes:
        """Times of units and borders by these factors, `unit_ms` more for each unit in float, and another `int8_ms`."""
        return replace(
            self,
            units=tuple(
                replace(unit, extra_ms=None if unit.extra_ms is None else own * unit.extra_ms + unit_ms)
                for unit in self.units
            ),
            borders=tuple(replace(border, ms=borders * border.ms) for border in self.borders),
            int8_ms=int8_ms,
            measured_on=measured_on,
        )

    def extra_ms(self, in_float: Collection[UnitPlace], besides: Collection[UnitPlace]) -> float:
        """What these units in float take beyond the network where only those of `besides` are; None is in both."""
        own = sum(self.units[place].extra_ms or 0.0 for place in in_float if place is not None)
        own -= sum(self.units[place].extra_ms or 0.0 for place in besides if place is not None)
        return own + self.borders_ms(in_float) - self.borders_ms(besides)

    def borders_ms(self, in_float: Collection[UnitPlace]) -> float:
        """Of all tensors that are brought into another precision."""
        return sum(border.ms for border in self.borders if border.is_crossed(in_float))

    def noise(self, in_float: Collection[UnitPlace], noise: Noise) -> float:
        """What int8 adds at the outputs where these units are in float.

        A tensor that is made in int8 is rounded for all; one that is made in float for those who read it in int8.
        """
        own = sum(noise.of_layers(unit) for place, unit in enumerate(self.units) if place not in in_float)
        for border in self.borders:
            if self.rounds_results and border.maker not in in_float:
                own += noise.tensors.get(border.tensor, 0.0)
            else:
                own += sum(
                    noise.of_reading(border.tensor, self.units[reader])
                    for reader in border.readers
                    if reader is not None and reader not in in_float
                )
        return own
