"""A network, the times of its layers and the harm of changing them, as a problem for the solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit.errors import UserError
from edgekit.latency import LatencyTable, NetworkUnits, Unit
from edgekit.plan.solving import (
    BlockWay,
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    WidthGroup,
    WidthTable,
)
from edgekit.planning.coupling import CoupledGroup, Coupling, GroupChannels
from edgekit.planning.merging import MergedUnit, inner_units, offered_units

if TYPE_CHECKING:
    from edgekit.compress import Sensitivity

__all__ = ["Assembled", "assemble"]

UNTIMED = "the table tells no time of"


@dataclass(frozen=True)
class Assembled:
    """`problem`, and what it leaves out: `kept`: layers that stay whole → why; `notes`: sentences on the prediction."""

    problem: PlanProblem
    kept: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Placed:
    """A unit of the network with the groups that it reads and makes, its block, and in what ways of that it exists."""

    name: str
    unit: Unit
    reads: GroupChannels | None
    makes: GroupChannels | None
    block: str | None
    there: tuple[BlockWay, ...] = ("kept",)


def assemble(
    network: NetworkUnits,
    coupling: Coupling,
    table: LatencyTable,
    sensitivity: Sensitivity,
    limits: PlanLimits,
) -> Assembled:
    """The problem of one network in one precision: that of its units.

    Units without weights belong to the block whose layers they read, up to its addition; where a node that is no unit
    stands between they count as staying, and what they would have saved is not promised. Convolutions may become one
    where the table says that it is faster. Widths that the table does not
    reach are left out. Precisions of single layers are no choice here: a table holds no time of a change between them.
    Raises UserError where the table does not tell the time of the network as it is.
    """
    time_ms, fixed_ms, notes = timing(table, network.units)
    notes.append("all layers have one precision: a table holds no time of a change between two")
    if network.unmeasured:
        notes.append(f"not in the table, and not counted: {', '.join(network.unmeasured)}")
    missing = [told for unit in network.units if (told := table.predict(unit)).latency_ms is None]
    if missing:
        raise UserError(
            f"the table does not tell the time of {missing[0].unit.text()}: {missing[0].outside}",
            remedy="measure it: edgekit latency measure",
        )
    kept = dict(coupling.kept)
    merged, slower = offered_units(network.units, coupling, sensitivity, time_ms)
    notes += slower
    groups = usable_groups(network.units, coupling, sensitivity, kept)
    placed = places(network.units, coupling, {group.name: group for group in groups}, merged)
    groups = reached(groups, placed, time_ms, kept)
    units = tuple(
        layer_unit(item, {group.name: group for group in groups}, time_ms, sensitivity) for item in placed
    )
    harms = {group.layer: group for group in sensitivity.groups}
    block_harm = {block.name: block.harm for block in sensitivity.blocks}
    chain_harm = {chain.name: chain.harm for chain in sensitivity.chains}
    merged_harm = {name: chain_harm[item.block.chain.name] for name, item in merged.items()}
    droppable = {block.name for block in coupling.blocks if block.name in block_harm}
    used = {item.block for item in placed}
    names = {group.name for group in groups}
    return Assembled(
        PlanProblem(
            tuple(
                WidthGroup(g.name, g.widths, tuple(harms[g.name].harm(width) for width in g.widths))
                for g in groups
            ),
            units,
            limits,
            tuple(
                RemovableBlock(
                    block,
                    block_harm[block] if block in droppable else None,
                    tuple(name for name in coupling.block_groups.get(block, ()) if name in names),
                    merged_harm.get(block),
                )
                for block in coupling.block_groups
                if block in used and (block in droppable or block in merged)
            ),
            fixed_ms=fixed_ms,
        ),
        kept,
        tuple(notes),
    )


def timing(
    table: LatencyTable, units: Sequence[Unit]
) -> tuple[Callable[[Unit], float | None], float, list[str]]:
    """The corrected time of a unit, None where the table does not reach; what a network takes beyond; and sentences.

    A correction is linear in the units, so that each may have its share.
    """
    correction, doubt = table.correction_for(units)
    notes = [doubt] if doubt else []
    if correction is None:
        notes.append("the sum is not corrected by whole networks, which cost more than their layers")

    def time_ms(unit: Unit) -> float | None:
        told = table.predict(unit).latency_ms
        if told is None or correction is None:
            return None if told is None else told.value
        return max(0.0, correction.apply([unit], [told.value]).value - correction.constant_ms)

    return time_ms, 0.0 if correction is None else max(0.0, correction.constant_ms), notes


def usable_groups(
    units: Sequence[Unit], coupling: Coupling, sensitivity: Sensitivity, kept: dict[str, str]
) -> list[CoupledGroup]:
    """Groups whose harm was measured and whose layers all are units; of the others `kept` gets the reason."""
    measured = {group.layer for group in sensitivity.groups}
    timed = {unit.layer for unit in units}
    groups = []
    for group in coupling.groups:
        absent = [layer for layer in group.layers if layer not in timed]
        if group.name in measured and not absent:
            groups.append(group)
            continue
        why = f"{UNTIMED} {absent[0]}" if absent else "no harm was measured of narrowing it"
        kept.update(dict.fromkeys(group.makers, why))
    return groups


def places(
    units: Sequence[Unit],
    coupling: Coupling,
    groups: Mapping[str, CoupledGroup],
    merged: Mapping[str, MergedUnit],
) -> tuple[_Placed, ...]:
    """Each unit with its groups and its block, by its layer, or by the tensors that it reads; then the merged ones."""
    block_of = {layer: block.name for block in coupling.blocks for layer in block.layers}
    gone = {place: name for name, item in merged.items() for place in (*inner_units(units, item), item.last)}
    sides: dict[str, GroupChannels | None] = {}
    within: dict[str, str] = {}
    placed = []
    names: dict[str, int] = {}
    for place, unit in enumerate(units):
        before = [side for name in unit.inputs if (side := sides.get(name)) is not None]
        reads, makes = coupling.reads.get(unit.layer), coupling.makes.get(unit.layer)
        if not unit.layer:
            reads = makes = before[0] if before and unit.family.is_square else None
        elif unit.family.is_square:
            reads = makes = makes or reads
        reads = reads if reads and reads.group in groups else None
        makes = makes if makes and makes.group in groups else None
        block = block_of.get(unit.layer)
        if not unit.layer:
            block = next((within[name] for name in unit.inputs if name in within), None)
        if block is None and place in gone:
            block = gone[place]  # a chain that is in no residual block ends with its last convolution
        elif block is not None and unit.family.kind != "add" and not unit.family.residual:
            within[unit.output] = block
        sides[unit.output] = makes
        name = unit.layer or (unit.nodes[0] if unit.nodes else unit.family.text())
        names[name] = names.get(name, 0) + 1
        there: tuple[BlockWay, ...] = (
            ("kept", "merged") if block in merged and place not in gone else ("kept",)
        )
        called = name if names[name] == 1 else f"{name} ({names[name]})"
        placed.append(_Placed(called, unit, reads, makes, block, there))
    placed += [
        replace(
            placed[item.last], name=f"{name} merged", unit=item.unit, reads=placed[item.first].reads, block=name,
            there=("merged",),
        )
        for name, item in merged.items()
    ]  # fmt: skip
    return tuple(placed)


def reached(
    groups: Sequence[CoupledGroup],
    placed: Sequence[_Placed],
    time_ms: Callable[[Unit], float | None],
    kept: dict[str, str],
) -> list[CoupledGroup]:
    """The groups with those widths alone at which the table tells the time of all their units."""
    result = []
    for group in groups:
        touched = [
            (
                item,
                item.reads is not None and item.reads.group == group.name,
                item.makes is not None and item.makes.group == group.name,
            )
            for item in placed
        ]
        widths = tuple(
            width
            for width in group.widths
            if all(
                time_ms(
                    resized(
                        item,
                        group.widths[-1] - width if reading else 0,
                        group.widths[-1] - width if making else 0,
                    )
                )
                is not None
                for item, reading, making in touched
                if reading or making
            )
        )
        if len(widths) == 1:
            kept.update(dict.fromkeys(group.makers, "the table does not reach narrower widths of it"))
        result.append(CoupledGroup(group.name, widths, group.makers, group.layers))
    return result


def resized(item: _Placed, fewer_in: int, fewer_out: int) -> Unit:
    """The unit with its groups narrower by so many channels."""
    unit = item.unit
    channels_in = unit.channels_in - fewer_in * (item.reads.per_channel if item.reads else 0)
    channels_out = unit.channels_out - fewer_out * (item.makes.per_channel if item.makes else 0)
    return unit.resized(channels_in=channels_in, channels_out=channels_out)


def layer_unit(
    item: _Placed,
    groups: Mapping[str, CoupledGroup],
    time_ms: Callable[[Unit], float | None],
    sensitivity: Sensitivity,
) -> LayerUnit:
    """The unit's tables over the widths of its groups. Raises UserError where the table does not reach a pair."""
    sides = [groups[side.group] if side else None for side in (item.reads, item.makes)]
    fewer = [[group.widths[-1] - width for width in group.widths] if group else [0] for group in sides]
    is_same = item.reads is not None and item.makes is not None and item.reads.group == item.makes.group

    def tabled(value: Callable[[Unit], float | None]) -> WidthTable:
        rows = []
        for a in fewer[0]:
            row = []
            for b in fewer[1]:
                told = 0.0 if is_same and a != b else value(resized(item, a, b))
                if told is None:
                    raise UserError(
                        f"the table does not tell the time of {resized(item, a, b).text()}",
                        remedy="measure it: edgekit latency measure",
                    )
                row.append(told)
            rows.append(tuple(row))
        return tuple(rows)

    precision = item.unit.family.precision
    harm = 0.0 if precision == "fp32" else sensitivity.harm_of_precision([item.unit.layer], precision)
    cost = PrecisionCost(tabled(time_ms), tabled(lambda unit: float(unit.weight_bytes)), harm=harm)
    return LayerUnit(
        item.name,
        {precision: cost},
        item.reads.group if item.reads else None,
        item.makes.group if item.makes else None,
        item.block,
        item.there,
    )
