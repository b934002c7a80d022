"""The layers that a recipe keeps in float on a board whose layers' times are known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.graph.layers import ACTIVATIONS
from edgekit.quantize.float_choice import FloatChoice, choose_in_float
from edgekit.quantize.precision_times import PrecisionTimes, SwitchableUnit
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    from edgekit.quantize.measured import MeasuredNetwork
    from edgekit.quantize.recipe import Recipe
    from edgekit.quantize.simulate import Scheme

__all__ = ["Kept", "kept_by_time"]


@dataclass(frozen=True)
class Kept:
    """`notes`: sentences on what the choice costs and gives."""

    layers: tuple[FloatLayer, ...]
    notes: tuple[str, ...] = ()


def kept_by_time(
    measured: MeasuredNetwork,
    recipe: Recipe,
    integers: Scheme,
    times: PrecisionTimes,
    fixed: Sequence[FloatLayer],
    never_float: Collection[str],
) -> Kept:
    """Those that take most noise off within the recipe's share of the INT8 network's time. `fixed`: float anyway."""
    names = [layer.name for layer in fixed]
    noise = measured.noise(recipe, integers, tuple(border.tensor for border in times.borders))
    kinds = {node.name: node.op_type for node in measured.model.graph.node}
    int8_ms = int8_network_ms(times, names)
    choice = choose_in_float(
        times, noise, float_anyway=names, never_float=never_float, most_extra_ms=recipe.float_time * int8_ms
    )
    layers: list[FloatLayer] = []
    for place in choice.chosen:
        unit = times.units[place]
        extra_ms, back = choice.by_unit[place]
        weighted = not {*unit.nodes}.isdisjoint(noise.weights)
        share = back / choice.noise_before if choice.noise_before else 0.0
        first, *others = _named(unit, kinds)
        layers.append(FloatLayer(first, "sensitive" if weighted else "between", extra_ms, share))
        layers += [FloatLayer(name, "between") for name in others]
    return Kept(tuple(layers), (_told(choice, times, int8_ms),))


def int8_network_ms(times: PrecisionTimes, float_anyway: Collection[str]) -> float:
    """The units' sum and that of all transitions with only these nodes in float."""
    places = {place for place, unit in enumerate(times.units) if not {*unit.nodes}.isdisjoint(float_anyway)}
    own = sum(times.units[place].extra_ms or 0.0 for place in places)
    return times.int8_ms + own + times.borders_ms({*places, None})


def _named(unit: SwitchableUnit, kinds: dict[str, str]) -> list[str]:
    """Nodes that have to be named so that the unit runs in float. An activation goes with the layer before it."""
    first, *others = (name for name in unit.nodes if name in kinds)
    return [first, *(name for name in others if kinds[name] not in ACTIVATIONS or kinds[first] == "Add")]


def _told(choice: FloatChoice, times: PrecisionTimes, int8_ms: float) -> str:
    left = choice.noise_after / choice.noise_before if choice.noise_before else 0.0
    return (
        f"In float by the times of layers on {times.measured_on}: {len(choice.chosen)} units add "
        f"{choice.extra_ms:.4f} ms to {int8_ms:.4f} ms ({choice.extra_ms / max(int8_ms, 1e-12):+.0%}), transitions "
        f"between precisions {choice.borders_ms:+.4f} ms of it, and leave {left:.0%} of the noise that int8 adds at "
        "the outputs."
    )
