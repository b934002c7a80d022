"""Factors by a table of layers' times: units read from real networks, and what they say of each form and rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.building.variants.factor_times import FactorTimes, factor_times, resized, widest_steps
from edgekit.compress import FactorStep, RankOption, chosen_steps, plan_of, rank_options
from edgekit.compress.lowrank.applying import apply_low_rank
from edgekit.latency import LatencyTable, MeasuredOn, TimedUnit, Unit
from edgekit.model import export_onnx
from edgekit.testing.networks import TinyConvNet
from edgekit.types import Estimate
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(1)
PLACE = MeasuredOn("a machine", "a CPU", "x86_64", (), "onnxruntime", "1.0", 1)


@dataclass(frozen=True)
class Looked:
    """A network's options, and their times by a table that holds every unit of theirs."""

    options: tuple[RankOption, ...]
    times: FactorTimes

    def with_ms(self, ms_of: Callable[[Unit], float]) -> FactorTimes:
        """Each unit takes `ms_of` it."""
        units = dict.fromkeys(self.times.own.values())
        for option in self.options:
            units |= dict.fromkeys(
                resized(self.times.factors[option.step.layer, option.step.form], option.step.ranks)
            )
        timed = [TimedUnit(unit, Estimate(*[ms_of(unit)] * 3)) for unit in units]
        return FactorTimes(LatencyTable(PLACE, tuple(timed)), self.times.own, self.times.factors)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(3)
    network = TinyConvNet(32).eval()
    batches = [(torch.randn(64, 1, 8, 8),)]
    options = rank_options(network, EXAMPLE, batches, 8)
    networks = []
    for number, steps in enumerate(widest_steps(options)):
        plan = plan_of(network, EXAMPLE, steps)
        export_onnx(apply_low_rank(network, EXAMPLE, plan, batches), EXAMPLE, folder / f"{number}.onnx")
        networks.append((steps, folder / f"{number}.onnx"))
    export_onnx(network, EXAMPLE, folder / "original.onnx")
    times = factor_times(LatencyTable(PLACE), "onnxruntime", "fp32", folder / "original.onnx", networks)
    return Looked(options, times)


def test_factors_are_read_from_the_networks_as_the_runtime_fuses_them(looked: Looked) -> None:
    assert {"conv1", "conv2", "down"} <= set(looked.times.own)
    assert {(option.step.layer, option.step.form) for option in looked.options} == set(looked.times.factors)
    first, last = looked.times.factors["conv1", "spatial"]
    assert (first.family.kernel, last.family.kernel) == ((3, 1), (1, 3))
    assert (first.family.activation, last.family.activation) == ("", "Relu")
    for option in looked.options:
        units = resized(looked.times.factors[option.step.layer, option.step.form], option.step.ranks)
        assert sum(unit.macs for unit in units) == option.macs


def test_a_table_without_the_layers_tells_nothing(looked: Looked) -> None:
    assert looked.times.own_ms("conv1") is None
    assert not looked.times.tells_of(looked.options)
    kept, rejections, known = looked.times.kept_and_rejected(looked.options, 0.3)
    assert (kept, rejections, known) == (looked.options, [], frozenset())
    option = looked.options[0]
    assert looked.times.cost(option) == option.macs


def test_layers_that_are_not_faster_are_rejected_with_their_two_times(looked: Looked) -> None:
    slow = looked.with_ms(lambda unit: 1.0)  # whatever it multiplies: two are always slower than one
    kept, rejections, known = slow.kept_and_rejected(looked.options, 0.0)
    assert not kept
    assert known == {option.step.layer for option in looked.options}
    assert {rejection.what.removeprefix("low rank of ") for rejection in rejections} == known
    told = next(rejection.reason for rejection in rejections if rejection.what.endswith("conv1"))
    assert told.startswith("not faster by the table of layers' times: conv1=")
    assert "takes 2 ms, the layer as it is 1 ms (onnxruntime)" in told


def test_the_table_chooses_form_and_rank(looked: Looked) -> None:
    def crawls_in_columns(unit: Unit) -> float:
        return 1e-6 * unit.macs * (50.0 if unit.family.kernel[0] != unit.family.kernel[1] else 1.0)

    assert "spatial" in {option.step.form for option in chosen_steps(looked.options, 0.5).values()}
    times = looked.with_ms(crawls_in_columns)
    kept, _, _ = times.kept_and_rejected(looked.options, 0.0)
    assert {option.step.form for option in kept} == {"tucker"}
    assert {option.step.form for option in chosen_steps(kept, 0.5, times.cost).values()} == {"tucker"}
    fast = looked.with_ms(lambda unit: 1e-6 * unit.macs)
    kept, rejections, _ = fast.kept_and_rejected(looked.options, 0.0)
    assert kept == looked.options
    assert not rejections


OPTIONS = st.lists(
    st.builds(
        RankOption,
        st.builds(
            FactorStep,
            st.sampled_from("abc"),
            st.sampled_from(["svd", "spatial"]),
            st.tuples(st.integers(1, 9)),
        ),
        st.integers(1, 1000),
        st.just(1),
        st.just(1.0),
    )
)


@settings(deadline=None)
@given(OPTIONS)
def test_the_widest_of_each_form_stand_in_networks_that_hold_each_layer_once(
    options: list[RankOption],
) -> None:
    sets = widest_steps(options)
    for steps in sets:
        assert len({step.layer for step in steps}) == len(steps)
    forms = [(step.layer, step.form) for steps in sets for step in steps]
    assert sorted(forms) == sorted({(option.step.layer, option.step.form) for option in options})
    for steps in sets:
        for step in steps:
            alike = [o.macs for o in options if (o.step.layer, o.step.form) == (step.layer, step.form)]
            assert max(alike) in [o.macs for o in options if o.step == step]
