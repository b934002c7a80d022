"""Factors by a table of layers' times: what a layer takes as it is, and what it would take in each form and rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.compress import FactorStep, RankOption
from edgekit.latency import LatencyTable, Unit, units_of
from edgekit.latency.unit import UnitPrecision
from edgekit.types import BackendName, Rejection

__all__ = ["FactorTimes", "factor_times", "widest_steps"]

Key = tuple[str, str]
"""A layer and the form of its factors."""


@dataclass(frozen=True)
class FactorTimes:
    """`own`: layer → its unit in the network; `factors`: layer and form → its factors' units, at their widest."""

    table: LatencyTable
    own: Mapping[str, Unit]
    factors: Mapping[Key, tuple[Unit, ...]]

    def own_ms(self, layer: str) -> float | None:
        """What the layer takes; None where the table does not tell."""
        return self._ms((self.own[layer],)) if layer in self.own else None

    def step_ms(self, step: FactorStep) -> float | None:
        """What the layer's factors take; None where the table does not tell."""
        units = self.factors.get((step.layer, step.form))
        return None if units is None else self._ms(resized(units, step.ranks))

    def tells_of(self, options: Sequence[RankOption]) -> bool:
        """Whether the times of a layer and of all its options are known."""
        return all(
            self.own_ms(option.step.layer) is not None and self.step_ms(option.step) is not None
            for option in options
        )

    def _ms(self, units: Sequence[Unit]) -> float | None:
        told = [self.table.predict(unit).latency_ms for unit in units]
        known = [latency.value for latency in told if latency is not None]
        return sum(known) if len(known) == len(told) else None

    def cost(self, option: RankOption) -> float:
        """What the cheapest option of a layer is the least in: milliseconds, or MACs where those are not known."""
        ms = self.step_ms(option.step)
        return option.macs if ms is None else ms

    def kept_and_rejected(
        self, options: Sequence[RankOption], energy: float
    ) -> tuple[tuple[RankOption, ...], list[Rejection], frozenset[str]]:
        """Options of layers that may get faster, layers that do not with their two times, and those that are known.

        `energy`: the lowest share that may be chosen; a layer is judged by what is fastest there. Options of a layer
        that the table does not tell of are all kept.
        """
        kept: list[RankOption] = []
        rejections: list[Rejection] = []
        known: set[str] = set()
        for layer in dict.fromkeys(option.step.layer for option in options):
            own = [option for option in options if option.step.layer == layer]
            if not self.tells_of(own):
                kept += own
                continue
            known.add(layer)
            own_ms = self.own_ms(layer) or 0.0
            faster = [option for option in own if self.cost(option) < own_ms]
            if any(option.kept >= energy for option in faster):
                kept += faster
                continue
            enough = [option for option in own if option.kept >= energy]
            if enough:
                best = min(enough, key=self.cost)
                rejections.append(
                    Rejection(
                        f"low rank of {layer}",
                        f"not faster by the table of layers' times: {best.step.text()} takes {self.cost(best):.4g} ms, "
                        f"the layer as it is {own_ms:.4g} ms ({self.table.measured_on.runtime})",
                    )
                )
        return tuple(kept), rejections, frozenset(known)


def widest_steps(options: Sequence[RankOption]) -> tuple[tuple[FactorStep, ...], ...]:
    """Of each layer and form the option of most MACs, in sets that name no layer twice."""
    widest: dict[Key, RankOption] = {}
    for option in options:
        key = option.step.layer, option.step.form
        if key not in widest or option.macs > widest[key].macs:
            widest[key] = option
    sets: list[dict[str, FactorStep]] = []
    for (layer, _), option in widest.items():
        free = next((chosen for chosen in sets if layer not in chosen), None)
        if free is None:
            sets.append(free := {})
        free[layer] = option.step
    return tuple(tuple(chosen.values()) for chosen in sets)


def factor_times(
    table: LatencyTable,
    runtime: BackendName,
    precision: UnitPrecision,
    original: Path,
    networks: Sequence[tuple[tuple[FactorStep, ...], Path]],
) -> FactorTimes:
    """The units of layers in `original`, and of their factors in `networks`, each an ONNX file with its steps.

    What a runtime fuses behind a layer, it fuses behind the last factor: so factors are read from whole networks.
    """
    own = by_layer(units_of(original, runtime, precision).units)
    factors: dict[Key, tuple[Unit, ...]] = {}
    for steps, path in networks:
        units = by_layer(units_of(path, runtime, precision).units)
        for step in steps:
            names = [f"{step.layer}.{number}" for number in range(3 if step.form == "tucker" else 2)]
            if all(name in units for name in names):
                factors[step.layer, step.form] = tuple(units[name] for name in names)
    return FactorTimes(table, own, factors)


def by_layer(units: Sequence[Unit]) -> dict[str, Unit]:
    """The units of layers that are there once."""
    named: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.layer:
            named.setdefault(unit.layer, []).append(unit)
    return {layer: alike[0] for layer, alike in named.items() if len(alike) == 1}


def resized(units: tuple[Unit, ...], ranks: tuple[int, ...]) -> tuple[Unit, ...]:
    """The factors with these ranks between them."""
    into = (None, *ranks)
    out = (*ranks, None)
    return tuple(
        unit.resized(channels_in=before, channels_out=after)
        for unit, before, after in zip(units, into, out, strict=True)
    )
