"""Chains of convolutions that a plan may make one: the unit that each becomes, where a table says that it is faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.latency import Unit
from edgekit.latency.unit import Family
from edgekit.planning.coupling import Coupling, MergeableBlock

if TYPE_CHECKING:
    from edgekit.compress import Sensitivity

__all__ = ["MergedUnit", "inner_units", "merged_units", "offered_units"]

NO_FASTER = "not offered as one convolution, which is no faster"


@dataclass(frozen=True)
class MergedUnit:
    """`unit`: what runs in the place of the chain's, of which `first` and `last` are places in the network."""

    block: MergeableBlock
    unit: Unit
    first: int
    last: int


def merged_units(units: Sequence[Unit], coupling: Coupling) -> tuple[MergedUnit, ...]:
    """Of all blocks that can be merged and whose convolutions all are units."""
    at: dict[str, list[int]] = {}
    for place, unit in enumerate(units):
        at.setdefault(unit.layer, []).append(place)
    made = []
    for block in coupling.mergeable:
        places = [at.get(name, []) for name in block.chain.convolutions]
        if any(len(there) != 1 for there in places):
            continue
        first, last = places[0][0], places[-1][0]
        if all(units[place].family.kind in ("conv", "depthwise") for (place,) in places):
            made.append(MergedUnit(block, _merged(units[first], units[last], block), first, last))
    return tuple(made)


def offered_units(
    units: Sequence[Unit],
    coupling: Coupling,
    sensitivity: Sensitivity,
    time_ms: Callable[[Unit], float | None],
) -> tuple[Mapping[str, MergedUnit], tuple[str, ...]]:
    """Block → its merged unit, where it is faster at full width, and a sentence on the others."""
    measured = {chain.name for chain in sensitivity.chains}
    offered: dict[str, MergedUnit] = {}
    slower = []
    for item in merged_units(units, coupling):
        inner = inner_units(units, item)
        before = [time_ms(units[place]) for place in (*inner, item.last)]
        after = time_ms(item.unit)
        if after is None or None in before or item.block.chain.name not in measured:
            continue
        if after < sum(time for time in before if time is not None):
            offered[item.block.name] = item
        else:
            slower.append(item.block.name)
    return offered, (f"{NO_FASTER}: {', '.join(slower)}",) if slower else ()


def inner_units(units: Sequence[Unit], item: MergedUnit) -> tuple[int, ...]:
    """Places of what is no longer there once it is merged: from the first convolution on, up to the last."""
    made: set[str] = set()
    places = []
    for place in range(item.first, item.last):
        unit = units[place]
        if unit.layer in item.block.chain.convolutions or (
            not unit.layer and not made.isdisjoint(unit.inputs)
        ):
            made.add(unit.output)
            places.append(place)
    return tuple(places)


def _merged(first: Unit, last: Unit, block: MergeableBlock) -> Unit:
    """It reads what the first reads, and ends as the last does."""
    shape = block.chain.shape
    family = Family(
        "conv",
        first.family.size,
        last.family.precision,
        shape.kernel,
        shape.stride,
        (*shape.padding, *shape.padding),
        activation=last.family.activation,
        residual=last.family.residual,
    )
    return Unit(
        family,
        first.channels_in,
        last.channels_out,
        layer=last.layer,
        inputs=(*first.inputs, *last.inputs),
        output=last.output,
    )
