"""Where in the graph two artifacts part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.backends.tensors import TensorFacts
    from edgekit.compare.outcome import LayerDifference

__all__ = ["CEILINGS", "first_parting", "lowest_inputs"]

CEILINGS: Mapping[str, float] = {"fp32": 80.0, "fp16": 50.0, "bf16": 40.0, "int8": 30.0}
"""Arithmetic → SQNR in dB below which it takes a sound layer by itself, roughly; above it nothing is a loss."""

FALL_DB = 12.0
"""A layer that loses so much against its inputs (or against the ceiling) parts from the other network."""

LOST_DB = 10.0
"""Below it a tensor is lost, however slowly it came there: a tenth of its power is error."""


def lowest_inputs(facts: Sequence[TensorFacts], sqnr_db: Mapping[str, float]) -> dict[str, float | None]:
    """Tensor → lowest SQNR of the nearest tensors before it that have one; None where none has."""
    known = {each.name: each for each in facts}
    nearest: dict[str, tuple[str, ...]] = {}
    for each in facts:  # in graph order: what comes before is known
        found: dict[str, None] = {}
        for name in each.inputs:
            found.update(dict.fromkeys((name,) if name in sqnr_db else nearest.get(name, ())))
        nearest[each.name] = tuple(found)
    return {
        name: min((sqnr_db[source] for source in nearest[name]), default=None) if name in known else None
        for name in known
    }


def first_parting(layers: Sequence[LayerDifference], arithmetic: str) -> str | None:
    """The first tensor, in graph order, that is lost or falls far below its inputs; None when none does.

    One that was matched by its place alone counts only if what is computed later is far off too: the pair may be
    a wrong one.
    """
    ceiling = CEILINGS[arithmetic]
    for place, layer in enumerate(layers):
        own = layer.difference.sqnr_db
        before = ceiling if layer.inputs_db is None else min(ceiling, layer.inputs_db)
        if own >= LOST_DB and before - own < FALL_DB:
            continue
        after = [later.difference.sqnr_db for later in layers[place + 1 :]]
        if layer.matched != "place" or not after or min(after) < ceiling - FALL_DB:
            return layer.name
    return None
