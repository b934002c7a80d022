"""What is to be chosen: widths of groups, blocks kept or not, a precision per unit; numbers alone, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from edgekit.errors import UserError

__all__ = [
    "BlockWay",
    "LayerUnit",
    "PlanLimits",
    "PlanProblem",
    "PrecisionCost",
    "RemovableBlock",
    "Transition",
    "WidthGroup",
    "WidthTable",
]

WidthTable = tuple[float, ...]
"""A value for each choice of the widths of a unit's groups, in their order, that of the last group changing first; a
single one where there is no group."""


BlockWay = Literal["kept", "dropped", "merged"]
"""What is done with a block: nothing; it is bypassed; its convolutions become one."""


@dataclass(frozen=True)
class WidthGroup:
    """Channels that get narrower together. `harm[i]`: what is lost at `widths[i]`, which ascend."""

    name: str
    widths: tuple[int, ...]
    harm: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.widths or any(a >= b for a, b in zip((0, *self.widths), self.widths, strict=False)):
            raise UserError(
                f"the widths of group {self.name} are {self.widths}", allowed="1 or more, ascending"
            )
        if len(self.harm) != len(self.widths):
            raise UserError(f"group {self.name} has {len(self.widths)} widths and {len(self.harm)} harms")
        refuse_unusable(f"harm of group {self.name}", self.harm, least=-math.inf)


@dataclass(frozen=True)
class PrecisionCost:
    """A unit in one precision: what each choice of widths costs, and the harm of computing it so.

    `memory_bytes`: live while the unit runs. Tables that are None cost nothing.
    """

    latency_ms: WidthTable
    size_bytes: WidthTable | None = None
    memory_bytes: WidthTable | None = None
    energy_mj: WidthTable | None = None
    harm: float = 0.0


@dataclass(frozen=True)
class LayerUnit:
    """What a runtime runs at once. `groups`: all whose widths it hangs on, whether it reads or makes their channels.

    A convolution has two at most; an attention three: its heads, and the widths of each for keys and for values.
    `block`: the removable block that it belongs to; `there`: in what ways of that block it exists.
    """

    name: str
    costs: Mapping[str, PrecisionCost]
    groups: tuple[str, ...] = ()
    block: str | None = None
    there: tuple[BlockWay, ...] = ("kept",)


@dataclass(frozen=True)
class RemovableBlock:
    """Units that can be bypassed together at `harm`, or have one in their place at `merged_harm`; None: they cannot.

    `groups`: those of its inside, which are there while it is kept. A group that several blocks name stays.
    """

    name: str
    harm: float | None
    groups: tuple[str, ...] = ()
    merged_harm: float | None = None

    @property
    def harms(self) -> Mapping[BlockWay, float]:
        """All that can be done with it → the harm."""
        harms: dict[BlockWay, float | None] = {"kept": 0.0, "dropped": self.harm, "merged": self.merged_harm}
        return {way: harm for way, harm in harms.items() if harm is not None}


@dataclass(frozen=True)
class Transition:
    """Time between two neighbouring units that compute in different precisions, where both stay.

    `latency_ms`: (precision before, precision after) → milliseconds; a pair that is missing costs nothing. `across`:
    blocks that lie between the two, which are neighbours only where all of them are bypassed.
    """

    before: str
    after: str
    latency_ms: Mapping[tuple[str, str], float]
    across: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanLimits:
    """What a plan may take at most; None: any. `memory_bytes` is held by each unit that stays."""

    latency_ms: float | None = None
    size_bytes: float | None = None
    memory_bytes: float | None = None
    energy_mj: float | None = None

    def __post_init__(self) -> None:
        limits = (self.latency_ms, self.size_bytes, self.memory_bytes, self.energy_mj)
        if all(limit is None for limit in limits):
            raise UserError(
                "a plan without any limit", remedy="give a limit of latency, size, memory or energy"
            )
        if any(limit is not None and not 0 < limit < math.inf for limit in limits):
            raise UserError(f"limits of a plan are {self}", allowed="above 0")


@dataclass(frozen=True)
class PlanProblem:
    """Minimise harm within the limits. Raises UserError for names that do not meet and tables that do not fit.

    Harm is a number on one scale for widths, blocks and precisions, and adds up. `fixed_ms`, `fixed_bytes`: what the
    network takes whatever is chosen.
    """

    groups: tuple[WidthGroup, ...]
    units: tuple[LayerUnit, ...]
    limits: PlanLimits
    blocks: tuple[RemovableBlock, ...] = ()
    transitions: tuple[Transition, ...] = ()
    fixed_ms: float = 0.0
    fixed_bytes: float = 0.0

    def __post_init__(self) -> None:
        for what, names in (
            ("group", [group.name for group in self.groups]),
            ("unit", [unit.name for unit in self.units]),
            ("block", [block.name for block in self.blocks]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f"{what} {twice[0]} is there more than once")
        if not self.units:
            raise UserError("a problem without units", remedy="there is nothing to choose")
        refuse_unusable("what is fixed", (self.fixed_ms, self.fixed_bytes))
        for block in self.blocks:
            refuse_unknown(f"block {block.name} names group", block.groups, self.group)
            refuse_unusable(f"harm of block {block.name}", block.harms.values(), least=-math.inf)
        for unit in self.units:
            self._check_unit(unit)
        for transition in self.transitions:
            self._check_transition(transition)

    @cached_property
    def group(self) -> Mapping[str, WidthGroup]:
        return {group.name: group for group in self.groups}

    @cached_property
    def unit(self) -> Mapping[str, LayerUnit]:
        return {unit.name: unit for unit in self.units}

    @cached_property
    def block(self) -> Mapping[str, RemovableBlock]:
        return {block.name: block for block in self.blocks}

    @cached_property
    def block_of(self) -> Mapping[str, str]:
        """Group → the one block that it vanishes with."""
        named = [name for block in self.blocks for name in set(block.groups)]
        return {name: block.name for block in self.blocks for name in block.groups if named.count(name) == 1}

    def _check_unit(self, unit: LayerUnit) -> None:
        refuse_unknown(f"unit {unit.name} names group", unit.groups, self.group)
        if len(set(unit.groups)) != len(unit.groups):
            raise UserError(f"unit {unit.name} names a group twice: {', '.join(unit.groups)}")
        refuse_unknown(f"unit {unit.name} names block", [unit.block] if unit.block else [], self.block)
        for name in unit.groups:
            if name in self.block_of and unit.there != ("kept",):
                raise UserError(
                    f"unit {unit.name} needs group {name}, which is there only while its block is kept"
                )
            if self.block_of.get(name, unit.block) != unit.block:
                raise UserError(
                    f"unit {unit.name} needs group {name}, which vanishes with block {self.block_of[name]}"
                )
        if not unit.costs:
            raise UserError(f"unit {unit.name} has no precision")
        shape = [len(self.group[name].widths) for name in unit.groups]
        for precision, cost in unit.costs.items():
            where = f"unit {unit.name} in {precision}"
            refuse_unusable(f"harm of {where}", (cost.harm,), least=-math.inf)
            for table in (cost.latency_ms, cost.size_bytes, cost.memory_bytes, cost.energy_mj):
                if table is None:
                    continue
                if len(table) != math.prod(shape):
                    wanted = " x ".join(map(str, shape)) or "1"
                    raise UserError(f"a table of {where} has {len(table)} values", allowed=wanted)
                refuse_unusable(f"a table of {where}", table)

    def _check_transition(self, transition: Transition) -> None:
        where = f"the transition from {transition.before} to {transition.after}"
        refuse_unknown(f"{where} names unit", (transition.before, transition.after), self.unit)
        refuse_unknown(f"{where} names block", transition.across, self.block)
        refuse_unusable(f"a time of {where}", transition.latency_ms.values())
        if transition.before == transition.after:
            raise UserError(f"{where} has the same unit on both sides")
        for side, index in ((transition.before, 0), (transition.after, 1)):
            if self.unit[side].block in transition.across:
                raise UserError(f"{where} lies across the block of {side}")
            precisions = [pair[index] for pair in transition.latency_ms]
            refuse_unknown(f"{where} names precision", precisions, self.unit[side].costs)


def refuse_unknown(where: str, names: Iterable[str], known: Mapping[str, object]) -> None:
    """Raises UserError for the first name that is not known."""
    for name in names:
        if name not in known:
            raise UserError(f"{where} {name}, which is not there", allowed=", ".join(known) or "none")


def refuse_unusable(what: str, values: Iterable[float], *, least: float = 0.0) -> None:
    """Raises UserError for the first value that is no number, or below `least`."""
    for value in values:
        if not (math.isfinite(value) and value >= least):
            allowed = "numbers" if least == -math.inf else f"numbers from {least:g} on"
            raise UserError(f"{what} is {value}", allowed=allowed)
