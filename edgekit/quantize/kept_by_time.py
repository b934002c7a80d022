"""The layers that a recipe keeps in float on a board whose layers' times are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.graph.layers import ACTIVATIONS
from edgekit.quantize.float_choice import FloatChoice, choices_by_percent, choose_in_float
from edgekit.quantize.precision_times import Noise, PrecisionTimes, SwitchableUnit
from edgekit.types import FloatLayer, FloatPoint

if TYPE_CHECKING:
    import onnx

    from edgekit.quantize.measured import MeasuredNetwork
    from edgekit.quantize.recipe import Recipe
    from edgekit.quantize.simulate import Scheme

__all__ = ["Kept", "int8_network_ms", "kept_by_time"]


@dataclass(frozen=True)
class Kept:
    """`notes`: sentences on what the choice costs and gives. `frontier`: other choices; see `QuantPlan`."""

    layers: tuple[FloatLayer, ...]
    notes: tuple[str, ...] = ()
    frontier: tuple[FloatPoint, ...] = ()


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
    inner = handed_to_additions(measured.model, times)
    tensors = (*(border.tensor for border in times.borders), *inner)
    reads = {
        border.tensor: [times.units[reader].nodes for reader in border.readers if reader is not None]
        for border in times.borders
        if len(border.readers) > 1
    }
    noise = with_inner(measured.noise(recipe, integers, tensors, reads), inner)
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
    points = [
        FloatPoint(percent, point.extra_ms / int8_ms, _left(point))
        for percent, point in choices_by_percent(
            times,
            noise,
            float_anyway=names,
            never_float=never_float,
            int8_ms=int8_ms,
            most_percent=round(100 * recipe.most_float_time),
        )
    ]
    return Kept(tuple(layers), (_told(choice, times, int8_ms),), tuple(reversed(points)))


def handed_to_additions(model: onnx.ModelProto, times: PrecisionTimes) -> dict[str, str]:
    """Tensor → the node that makes it, of what a unit's layer hands to an addition that it runs with.

    No border, since no other unit sees it; yet NNCF rounds what goes into an addition.
    """
    place = {name: index for index, unit in enumerate(times.units) for name in unit.nodes}
    makers = {output: node for node in model.graph.node for output in node.output}
    live = {name for name, node in makers.items() if node.op_type != "Constant"}
    inner = {}
    for node in model.graph.node:
        sums = node.op_type == "Add" and node.name in place and live.issuperset(node.input)  # not a bias
        for tensor in node.input if sums else ():
            maker = makers.get(tensor)
            if maker is not None and place.get(maker.name) == place[node.name]:
                inner[tensor] = maker.name
    return inner


def with_inner(noise: Noise, inner: Mapping[str, str]) -> Noise:
    """Noise in which the weights of a node bring along what rounding its result adds."""
    weights = dict(noise.weights)
    for tensor, node in inner.items():
        weights[node] = weights.get(node, 0.0) + noise.tensors.get(tensor, 0.0)
    return Noise(weights, noise.tensors, noise.reads)


def int8_network_ms(times: PrecisionTimes, float_anyway: Collection[str]) -> float:
    """The units' sum and that of all transitions with only these nodes in float."""
    places = {place for place, unit in enumerate(times.units) if not {*unit.nodes}.isdisjoint(float_anyway)}
    own = sum(times.units[place].extra_ms or 0.0 for place in places)
    return times.int8_ms + own + times.borders_ms({*places, None})


def _left(choice: FloatChoice) -> float:
    """The share of the noise that a choice leaves."""
    return choice.noise_after / choice.noise_before if choice.noise_before else 0.0


def _named(unit: SwitchableUnit, kinds: dict[str, str]) -> list[str]:
    """Nodes that have to be named so that the unit runs in float. An activation goes with the layer before it."""
    first, *others = (name for name in unit.nodes if name in kinds)
    return [first, *(name for name in others if kinds[name] not in ACTIVATIONS or kinds[first] == "Add")]


def _told(choice: FloatChoice, times: PrecisionTimes, int8_ms: float) -> str:
    return (
        f"In float by the times of layers on {times.measured_on}: {len(choice.chosen)} units add "
        f"{choice.extra_ms:.4f} ms to {int8_ms:.4f} ms ({choice.extra_ms / max(int8_ms, 1e-12):+.0%}), transitions "
        f"between precisions {choice.borders_ms:+.4f} ms of it, and leave {_left(choice):.0%} of the noise that "
        "int8 adds at the outputs."
    )
