"""Where two artifacts part, and which pairs were wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.backends.tensors import TensorFacts
from edgekit.compare.divergence import first_divergence, lowest_inputs, wrong_places
from edgekit.compare.matching import How
from edgekit.compare.outcome import LayerDifference
from edgekit.compare.parts import PartDifference
from edgekit.compare.statistics import Accumulator

SUMS = Accumulator()
SUMS.add(np.ones((1, 2)), np.ones((1, 2)))
SAME = SUMS.result()


def facts(name: str, *inputs: str, op: str = "conv") -> TensorFacts:
    return TensorFacts(name, (name,), op, name, inputs)


def layer(
    name: str, sqnr_db: float, inputs_db: float | None = None, how: How = "name", op: str = "conv"
) -> LayerDifference:
    difference = replace(SAME, sqnr_db=sqnr_db)
    return LayerDifference(name, name, name, op, how, 1.0, "as it is", difference, inputs_db, None)


def test_the_first_layer_that_falls_far_below_its_inputs_is_where_they_diverge() -> None:
    layers = [layer("a", 28.0), layer("b", 26.0, 28.0), layer("c", 12.0, 26.0), layer("d", 5.0, 12.0)]
    assert first_divergence(layers, "int8") == "c"


def test_slow_losses_of_a_quantized_network_are_no_divergence() -> None:
    layers = [layer("a", 33.0, 130.0), layer("b", 25.0, 33.0), layer("c", 18.0, 25.0)]
    assert first_divergence(layers, "int8") is None


def test_a_tensor_that_is_lost_slowly_is_one_in_the_end() -> None:
    layers = [layer("a", 22.0), layer("b", 15.0, 22.0), layer("c", 9.0, 15.0)]
    assert first_divergence(layers, "int8") == "c"


def test_what_dies_though_its_inputs_are_sound_is_named_before_what_is_merely_coarse() -> None:
    scores = PartDifference(1, 4, 9, -1.0, -25.0, True, (0.1, 0.2), "axis 1, 4 to 9: 0.0 % is kept")
    joined = replace(layer("joined", 52.0, 39.0, op="concat"), part=scores)
    assert first_divergence([layer("a", 40.0), layer("b", 17.0, 40.0), joined], "int8") == "joined"
    kept = replace(joined, part=replace(scores, lost=False))
    assert first_divergence([layer("a", 40.0), layer("b", 17.0, 40.0), kept], "int8") == "b"


def test_what_is_lost_behind_a_layer_that_fell_is_that_layer_s_doing() -> None:
    layers = [layer("a", 40.0), layer("b", 15.0, 40.0), layer("c", 2.0, 15.0)]
    assert first_divergence(layers, "int8") == "b"


def test_between_two_float_networks_much_less_is_a_divergence() -> None:
    layers = [layer("a", 120.0), layer("b", 60.0, 120.0)]
    assert first_divergence(layers, "fp32") == "b"
    assert first_divergence(layers, "fp16") is None


def test_inputs_are_looked_for_through_tensors_without_a_counterpart() -> None:
    graph = (facts("x"), facts("a", "x"), facts("b", "a"), facts("c", "b", "x"))
    assert lowest_inputs(graph, {"x": 50.0, "a": 20.0, "c": 10.0}) == {
        "x": None,
        "a": 50.0,
        "b": 20.0,
        "c": 20.0,
    }


def test_a_pair_by_place_is_wrong_when_what_follows_from_it_is_sound() -> None:
    graph = (facts("a"), facts("b", "a"), facts("c", "b"))
    layers = [layer("a", 40.0), layer("b", 2.0, 40.0, "place"), layer("c", 39.0, 2.0)]
    assert wrong_places(graph, layers, "int8") == {"b"}


def test_a_pair_by_place_stands_when_only_another_branch_is_sound() -> None:
    graph = (facts("a"), facts("b", "a"), facts("other", "a"), facts("c", "b", "other"))
    layers = [
        layer("a", 40.0),
        layer("b", 2.0, 40.0, "place"),
        layer("other", 39.0, 40.0),
        layer("c", 3.0, 2.0),
    ]
    assert wrong_places(graph, layers, "int8") == frozenset()


def test_a_softmax_that_saturates_does_not_vouch_for_what_lies_before_it() -> None:
    graph = (facts("a"), facts("b", "a", op="softmax"))
    layers = [layer("a", 2.0, None, "place"), layer("b", 60.0, 2.0, op="softmax")]
    assert wrong_places(graph, layers, "int8") == frozenset()
