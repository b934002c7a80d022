"""A network, the times of its layers and the harm of changing them, as a problem for the solver."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit.errors import UserError
from edgekit.latency import LatencyTable, NetworkUnits, Unit
from edgekit.plan.solving import (
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    WidthGroup,
    WidthTable,
)
from edgekit.planning.carrying import CarriedChannels, packed_layers
from edgekit.planning.coupling import CoupledGroup, Coupling
from edgekit.planning.merging import offered_units
from edgekit.planning.placing import LinkedAttention, PlacedUnit, linked_attentions, placed_units

if TYPE_CHECKING:
    from edgekit.compress import Sensitivity

__all__ = ["Assembled", "assemble"]

UNTIMED = "the table tells no time of"

STREAM = "where an embedding gets narrower, norms go over the channels that are left"

FEWER = {"head": "fewer heads", "channel": "narrower widths"}


@dataclass(frozen=True)
class Assembled:
    """`problem`, and what it leaves out: `kept`: layers that stay whole → why; `notes`: sentences on the prediction."""

    problem: PlanProblem
    kept: Mapping[str, str]
    notes: tuple[str, ...]


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
    linked = linked_attentions(network.units, coupling, kept)
    carried = CarriedChannels(network.units, coupling, network.carried)
    packed = packed_layers(network.units, coupling, carried)
    groups = usable_groups(network.units, coupling, linked, sensitivity, kept, packed)
    placed = placed_units(network.units, coupling, linked, {group.name for group in groups}, merged, carried)
    groups = reached(groups, coupling, placed, time_ms, kept)
    notes += normalized(groups)
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


def normalized(groups: Sequence[CoupledGroup]) -> list[str]:
    """What narrowing means where norms go across the channels."""
    streams = [group.name for group in groups if group.normalizing and len(group.widths) > 1]
    return [f"{STREAM}: {', '.join(streams)}"] if streams else []


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

    @functools.cache  # of thousands of choices of a stream, heads and their widths the units are mostly the same
    def time_ms(unit: Unit) -> float | None:
        told = table.predict(unit).latency_ms
        if told is None or correction is None:
            return None if told is None else told.value
        return max(0.0, correction.apply([unit], [told.value]).value - correction.constant_ms)

    return time_ms, 0.0 if correction is None else max(0.0, correction.constant_ms), notes


def usable_groups(
    units: Sequence[Unit],
    coupling: Coupling,
    linked: Collection[LinkedAttention],
    sensitivity: Sensitivity,
    kept: dict[str, str],
    packed: Collection[str],
) -> list[CoupledGroup]:
    """Groups whose harm was measured and whose layers all are units, or `packed` in one; of the others `kept` gets the
    reason.
    """
    measured = {group.layer for group in sensitivity.groups}
    timed = {unit.layer for unit in units}.union(packed)
    seen = {name for link in linked for name in link.attention.groups}
    unseen = {name for attention in coupling.attentions for name in attention.groups} - seen
    groups = []
    for group in coupling.groups:
        if group.name in unseen:
            continue
        absent = [layer for layer in group.layers if layer not in timed and group.name not in seen]
        if group.name in measured and not absent:
            groups.append(group)
            continue
        why = f"{UNTIMED} {absent[0]}" if absent else "no harm was measured of narrowing it"
        kept.update(dict.fromkeys(coupling.told_of(group), why))
    return groups


def reached(
    groups: Sequence[CoupledGroup],
    coupling: Coupling,
    placed: Sequence[PlacedUnit],
    time_ms: Callable[[Unit], float | None],
    kept: dict[str, str],
) -> list[CoupledGroup]:
    """The groups with those widths alone at which the table tells the time of all their units."""
    full = {group.name: group.widths[-1] for group in groups}
    result = []
    for group in groups:
        touched = [item for item in placed if group.name in item.groups]
        widths = tuple(
            width
            for width in group.widths
            if all(
                time_ms(unit) is not None for item in touched for unit in item.at({**full, group.name: width})
            )
        )
        if len(widths) == 1:
            kept.update(
                dict.fromkeys(coupling.told_of(group), f"the table does not reach {FEWER[group.unit]} of it")
            )
        result.append(replace(group, widths=widths))
    return result


def layer_unit(
    item: PlacedUnit,
    groups: Mapping[str, CoupledGroup],
    time_ms: Callable[[Unit], float | None],
    sensitivity: Sensitivity,
) -> LayerUnit:
    """The unit's tables over the widths of its groups. Raises UserError where the table does not reach a choice."""
    names = item.groups
    choices = [
        item.at(dict(zip(names, widths, strict=True)))
        for widths in itertools.product(*(groups[name].widths for name in names))
    ]

    def tabled(value: Callable[[Unit], float | None]) -> WidthTable:
        row = []
        for units in choices:
            told = {unit: value(unit) for unit in units}
            if None in told.values():
                missing = next(unit for unit, value in told.items() if value is None)
                raise UserError(
                    f"the table does not tell the time of {missing.text()}",
                    remedy="measure it: edgekit latency measure",
                )
            row.append(sum(told[unit] or 0.0 for unit in units))
        return tuple(row)

    precision = item.unit.family.precision
    harm = 0.0 if precision == "fp32" else sensitivity.harm_of_precision([item.unit.layer], precision)
    cost = PrecisionCost(tabled(time_ms), tabled(lambda unit: float(unit.weight_bytes)), harm=harm)
    return LayerUnit(item.name, {precision: cost}, names, item.block, item.there)
