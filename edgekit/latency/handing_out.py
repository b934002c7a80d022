"""What networks of copies of a unit hand out of them: large outputs are thinned, which costs something besides."""

from __future__ import annotations

from edgekit.latency.unit import Family, Unit, UnitPrecision

__all__ = ["CHAINED", "MOVING", "POOLS", "handed_out", "is_large", "is_thin", "subtracted"]

CHAINED = ("add", "pointwise", "norm", "softmax")
POOLS = ("maxpool", "average")
MOVING = ("transpose", "slice")

FLAT = 512
"""Values of an output that are handed out whole; of larger ones a few are taken, so that copying them costs nothing."""


def subtracted(unit: Unit) -> tuple[Unit, ...]:
    """What each copy of the unit in such a network costs besides the unit itself: units in their own right."""
    family = unit.family
    more = []
    if family.kind in POOLS and not is_thin(family):  # equal ones on one tensor would be computed once
        precision: UnitPrecision = "int8" if family.rounded else family.precision
        more.append(Unit(Family("add", family.size, precision), unit.channels_in, unit.channels_in))
    if is_thinned(unit) and family.is_image:
        height, width = family.size_out
        thin = Family(
            "maxpool", (height, width), family.precision, (min(2, height), min(2, width)), (height, width)
        )
        more.append(Unit(thin, unit.channels_out, unit.channels_out))
    return tuple(more)


def is_thinned(unit: Unit) -> bool:
    """Whether each copy has an output of its own that is not handed out whole."""
    family = unit.family
    is_chain = family.kind in CHAINED or family.residual
    return not is_chain and family.kind not in MOVING and is_large(*handed_out(unit))


def handed_out(unit: Unit) -> tuple[int, int]:
    """Positions and channels of the output."""
    if unit.family.kind == "attention":
        return unit.family.size[0], unit.channels_out * unit.family.groups
    height, width = unit.family.size if unit.family.kind == "product" else unit.family.size_out
    return height * width, unit.channels_out


def is_thin(family: Family) -> bool:
    """Whether a pooling gives one value of each channel: it may then differ from others and take the same time."""
    return family.kind == "maxpool" and family.size_out == (1, 1) and not any(family.padding)


def is_large(positions: int, channels: int) -> bool:
    """Whether an output is thinned; one without positions cannot be."""
    return positions > 1 and positions * channels > FLAT
