"""Where in the graph two artifacts begin to differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.backends.tensors import TensorFacts
    from edgekit.compare.outcome import LayerDifference

__all__ = ["CEILINGS", "LOST_DB", "first_divergence", "lowest_inputs", "wrong_places"]

CEILINGS: Mapping[str, float] = {"fp32": 80.0, "fp16": 50.0, "bf16": 40.0, "int8": 30.0}
"""Arithmetic → SQNR in dB below which it takes a sound layer by itself, roughly; above it nothing is a loss."""

FALL_DB = 12.0
"""A layer that loses so much against its inputs (or against the ceiling) diverges from the other network."""

LOST_DB = 10.0
"""Below it a tensor is lost, however slowly it came there: a tenth of its power is error."""


def lowest_inputs(facts: Sequence[TensorFacts], sqnr_db: Mapping[str, float]) -> dict[str, float | None]:
    """Tensor → lowest SQNR of the nearest tensors before it that have one; None where none has."""
    known = {tensor.name: tensor for tensor in facts}
    nearest: dict[str, tuple[str, ...]] = {}
    for tensor in facts:  # in graph order: what comes before is known
        sources: dict[str, None] = {}
        for name in tensor.inputs:
            sources.update(dict.fromkeys((name,) if name in sqnr_db else nearest.get(name, ())))
        nearest[tensor.name] = tuple(sources)
    return {
        name: min((sqnr_db[source] for source in nearest[name]), default=None) if name in known else None
        for name in known
    }


def wrong_places(
    facts: Sequence[TensorFacts], layers: Sequence[LayerDifference], arithmetic: str
) -> frozenset[str]:
    """Tensors that were matched by their place alone, and wrongly so.

    Were such a pair the same tensor, all that is computed from it could not be sound. A softmax does not count: it
    hides what lies before it.
    """
    sound = CEILINGS[arithmetic] - FALL_DB
    good = {
        layer.name
        for layer in layers
        if layer.matched != "place" and layer.op != "softmax" and layer.difference.sqnr_db >= sound
    }
    recovers: dict[str, bool] = {}  # whether something sound is computed from the tensor
    for tensor in reversed(facts):
        recovers.setdefault(tensor.name, False)
        for name in tensor.inputs:
            recovers[name] = recovers.get(name, False) or tensor.name in good or recovers[tensor.name]
    return frozenset(
        layer.name
        for layer in layers
        if layer.matched == "place" and layer.difference.sqnr_db < sound and recovers.get(layer.name, False)
    )


def first_divergence(layers: Sequence[LayerDifference], arithmetic: str) -> str | None:
    """The first tensor, in graph order, that is lost, as a whole or a part of it, or falls far below its inputs.

    None when none does.
    """
    ceiling = CEILINGS[arithmetic]
    for layer in layers:
        own = layer.difference.sqnr_db
        before = ceiling if layer.inputs_db is None else min(ceiling, layer.inputs_db)
        part_lost = layer.part is not None and layer.part.lost
        if own < LOST_DB or before - own >= FALL_DB or part_lost:
            return layer.name
    return None
