"""Where the units of a network stand: how their widths follow from those of groups, and which block they go with."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.latency import Unit
from edgekit.plan.solving import BlockWay
from edgekit.planning.attending import CoupledAttention
from edgekit.planning.carrying import CarriedChannels
from edgekit.planning.coupling import Coupling, GroupChannels
from edgekit.planning.merging import MergedUnit, inner_units

__all__ = [
    "LinkedAttention",
    "PlacedUnit",
    "UnitSides",
    "WidthSum",
    "WidthTerm",
    "Widths",
    "linked_attentions",
    "placed_units",
]

Widths = Mapping[str, int]
"""Group → its width."""

CARRYING = frozenset({"add", "average", "linear", "maxpool", "norm", "pointwise", "slice", "transpose"})
"""Kinds of units without a layer's name that read channels of a group; `linear`: several layers are one product."""

UNSEEN = "its attention is none that the table's runtime is timed with"
OTHERWISE = "its attention has other heads in the exported network"


@dataclass(frozen=True)
class WidthTerm:
    """`factor` times the widths of `groups`."""

    factor: int
    groups: tuple[str, ...]


@dataclass(frozen=True)
class WidthSum:
    """A width of a unit: `rest` and what its terms give."""

    rest: int
    terms: tuple[WidthTerm, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.groups))

    def at(self, widths: Widths) -> int:
        """The width where groups have these."""
        return self.rest + sum(
            term.factor * math.prod(widths[name] for name in term.groups) for term in self.terms
        )

    def staying(self, kept: Collection[str], widths: Widths) -> WidthSum:
        """The same where only `kept` groups are narrowed; `widths`: of all, and they stay."""
        rest, terms = self.rest, []
        for term in self.terms:
            factor = term.factor * math.prod(widths[name] for name in term.groups if name not in kept)
            names = tuple(name for name in term.groups if name in kept)
            rest += 0 if names else factor
            terms += [WidthTerm(factor, names)] if names else []
        return WidthSum(rest, tuple(terms))


@dataclass(frozen=True)
class PlacedUnit:
    """A unit with what its channels in and out and its heads follow from, None where they stay; its block, and in what
    ways of that it exists.

    `parts`: widths of the projections that an exporter has packed into one product, as it does while they are equal.
    """

    name: str
    unit: Unit
    reads: WidthSum | None
    makes: WidthSum | None
    heads: WidthSum | None
    block: str | None
    parts: tuple[WidthSum, ...] = ()
    there: tuple[BlockWay, ...] = ("kept",)

    @property
    def groups(self) -> tuple[str, ...]:
        """All groups that it hangs on."""
        sides = [side for side in (self.reads, self.makes, self.heads) if side is not None]
        return tuple(dict.fromkeys(name for side in sides for name in side.groups))

    def at(self, widths: Widths) -> tuple[Unit, ...]:
        """What the unit becomes where groups have these widths: itself, or a unit for each of its parts."""
        unit = at_widths(self.unit, self, widths)
        parts = [part.at(widths) for part in self.parts]
        if len(set(parts)) < 2:
            return (unit,)
        if unit.family.attention is not None:
            return (replace(unit, family=replace(unit.family, attention=unit.family.attention.parted)),)
        return tuple(unit.resized(channels_out=width) for width in parts)


@dataclass(frozen=True)
class UnitSides:
    """What an attention says of one of its units; `reader`: the layer behind it, whose block is that of them all.

    `parts`: see `PlacedUnit`.
    """

    reads: WidthSum | None = None
    makes: WidthSum | None = None
    heads: WidthSum | None = None
    reader: str = ""
    parts: tuple[WidthSum, ...] = ()


@dataclass(frozen=True)
class LinkedAttention:
    """An attention that the network's units have. `sides`: place of a unit → what it has of it."""

    attention: CoupledAttention
    sides: Mapping[int, UnitSides]


def linked_attentions(
    units: Sequence[Unit], coupling: Coupling, kept: dict[str, str]
) -> tuple[LinkedAttention, ...]:
    """Those whose units are found: by the layer that reads their result. Of the others `kept` gets the reason."""
    full = {group.name: group.widths[-1] for group in coupling.groups}
    linked = []
    for attention in coupling.attentions:
        at = [
            (place, reader)
            for place, unit in enumerate(units)
            if unit.family.kind == "attention"
            for reader, other in enumerate(units)
            if other.layer == attention.reader and unit.output in other.inputs
        ]
        link = _linked(units, attention, *at[0], full) if len(at) == 1 else None
        if link is not None:
            linked.append(link)
        else:
            kept.update(dict.fromkeys(attention.makers, OTHERWISE if at else UNSEEN))
    return tuple(linked)


def _linked(
    units: Sequence[Unit], attention: CoupledAttention, place: int, reader: int, full: Widths
) -> LinkedAttention | None:
    """None where its groups do not give the widths that its units have."""
    unit, heads = units[place], attention.heads

    def of_all_heads(count: int, group: str, width: int) -> WidthTerm:
        """Channels of all heads, `count` times the width of each."""
        return WidthTerm(count, (heads, group)) if group else WidthTerm(count * width, (heads,))

    key, value = (
        WidthSum(0, (WidthTerm(1, (group,)),)) if group else None
        for group in (attention.key, attention.value)
    )
    keys_of_all, values_of_all = (
        WidthSum(0, (of_all_heads(1, group, width),))
        for group, width in ((attention.key, unit.channels_in), (attention.value, unit.channels_out))
    )
    is_packed = unit.family.attention is not None and unit.family.attention.packed
    parts = (keys_of_all, keys_of_all, values_of_all) if is_packed and len(attention.makers) == 3 else ()
    count = WidthSum(0, (WidthTerm(1, (heads,)),))
    sides = {
        place: UnitSides(key, value, count, attention.reader, parts),
        reader: UnitSides(reads=values_of_all, reader=attention.reader),
    }
    for tensor in dict.fromkeys(unit.inputs):
        makers = [number for number, other in enumerate(units) if other.output == tensor]
        queries, keys, values = (name == tensor for name in unit.inputs)
        terms = (
            of_all_heads(queries + keys, attention.key, unit.channels_in),
            of_all_heads(int(values), attention.value, unit.channels_out),
        )
        made = WidthSum(0, tuple(term for term in terms if term.factor))
        sides.update(
            (number, UnitSides(makes=made, reader=attention.reader, parts=parts)) for number in makers
        )
        if len(makers) != 1:
            return None
    fits = all(at_widths(units[number], side, full) == units[number] for number, side in sides.items())
    return LinkedAttention(attention, sides) if fits else None


def at_widths(unit: Unit, sides: UnitSides | PlacedUnit, widths: Widths) -> Unit:
    """The unit where groups have these widths."""
    counts = [None if side is None else side.at(widths) for side in (sides.reads, sides.makes, sides.heads)]
    return unit.resized(channels_in=counts[0], channels_out=counts[1], heads=counts[2])


def placed_units(
    units: Sequence[Unit],
    coupling: Coupling,
    linked: Sequence[LinkedAttention],
    kept: Collection[str],
    merged: Mapping[str, MergedUnit],
    carried: CarriedChannels,
) -> tuple[PlacedUnit, ...]:
    """Each unit with its widths and its block, by its layer, or by the tensors that it reads; then those of `merged`.

    `kept`: the groups that may be narrowed. `merged`: block → what it may be in one. `carried`: what tensors hold of
    groups.
    """
    full = {group.name: group.widths[-1] for group in coupling.groups}
    block_of = {layer: block.name for block in coupling.blocks for layer in block.layers}
    attended = {place: side for link in linked for place, side in link.sides.items()}
    gone = {place: name for name, item in merged.items() for place in (*inner_units(units, item), item.last)}
    within: dict[str, str] = {}
    placed = []
    names: dict[str, int] = {}
    for place, unit in enumerate(units):
        reads, makes = coupling.reads.get(unit.layer), coupling.makes.get(unit.layer)
        if not unit.layer and unit.family.kind in CARRYING:
            reads = carried.side(unit.inputs[0], unit.channels_in)
            makes = reads if unit.family.is_square else None
        elif unit.family.is_square:
            reads = makes = makes or reads
        own = attended.get(place, UnitSides())
        block = block_of.get(unit.layer) or block_of.get(own.reader)
        if block is None and not unit.layer:
            block = next((within[name] for name in unit.inputs if name in within), None)
        if block is None and place in gone:
            block = gone[place]  # a chain that is in no residual block ends with its last convolution
        elif block is not None and unit.family.kind != "add" and not unit.family.residual:
            within[unit.output] = block
        widths = (
            own.reads or _by_group(reads, unit.channels_in, full),
            own.makes or _by_group(makes, unit.channels_out, full),
            own.heads,
        )
        reads_now, makes_now, heads_now = (side.staying(kept, full) if side else None for side in widths)
        name = unit.layer or (unit.nodes[0] if unit.nodes else unit.family.text())
        names[name] = names.get(name, 0) + 1
        placed.append(
            PlacedUnit(
                name if names[name] == 1 else f"{name} ({names[name]})",
                unit,
                reads_now,
                makes_now,
                heads_now,
                block,
                tuple(part.staying(kept, full) for part in own.parts),
                ("kept", "merged") if block in merged and place not in gone else ("kept",),
            )
        )
    placed += [
        replace(
            placed[item.last], name=f"{name} merged", unit=item.unit, reads=placed[item.first].reads, block=name,
            there=("merged",),
        )
        for name, item in merged.items()
    ]  # fmt: skip
    return tuple(placed)


def _by_group(side: GroupChannels | None, channels: int, full: Widths) -> WidthSum | None:
    if side is None:
        return None
    rest = channels - side.per_channel * full[side.group]
    return WidthSum(rest, (WidthTerm(side.per_channel, (side.group,)),))
