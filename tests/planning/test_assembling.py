"""A network becomes a problem, and what was chosen becomes the network: predicted and real units agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.compress import PruneConfig, Sensitivity, SensitivityConfig, apply_plan, measure_sensitivity
from edgekit.errors import UserError
from edgekit.latency import LatencyTable, units_of
from edgekit.model.export import export_onnx
from edgekit.plan.solving import Allocation, PlanLimits, predicted, proposals, solve
from edgekit.planning import Assembled, Coupling, PlanCutter, assemble, coupled
from tests.compress.nets import image_example, random_samples
from tests.planning.networks import SmallResNet, formula_table, small_resnet

EXAMPLE = image_example(side=16)
CONFIG = PruneConfig(importance="magnitude", round_to=8)


class Case:
    """A network with all that a plan of it takes. `runtime` adds residuals in their convolutions."""

    def __init__(self, folder: Path) -> None:
        self.network: SmallResNet = small_resnet()
        self.path = folder / "network.onnx"
        export_onnx(self.network, EXAMPLE, self.path)
        self.units = units_of(self.path, "onnxruntime", "int8")
        self.table: LatencyTable = formula_table(self.units.units)
        self.coupling: Coupling = coupled(self.network, EXAMPLE, CONFIG)
        settings = SensitivityConfig(fractions=(0.5,), samples=32, batch_size=32)
        self.sensitivity: Sensitivity = measure_sensitivity(
            self.network, EXAMPLE, random_samples(64, side=16), CONFIG, settings
        )

    def assembled(self, limit_ms: float = 1e6) -> Assembled:
        return assemble(
            self.units, self.coupling, self.table, self.sensitivity, PlanLimits(latency_ms=limit_ms)
        )

    def really_ms(self, allocation: Allocation, folder: Path) -> float:
        """Of the network that the allocation makes, by the table over its own units."""
        plan = PlanCutter(self.network, EXAMPLE, self.coupling, CONFIG).plan(allocation)
        path = folder / "pruned.onnx"
        export_onnx(apply_plan(self.network, EXAMPLE, plan), EXAMPLE, path)
        told = self.table.predict_network(units_of(path, "onnxruntime", "int8").units)
        assert told.latency_ms is not None, told.outside
        return told.latency_ms.value


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"))


def full(assembled: Assembled) -> Allocation:
    problem = assembled.problem
    precisions = {unit.name: next(iter(unit.costs)) for unit in problem.units}
    return predicted(problem, {group.name: group.widths[-1] for group in problem.groups}, (), precisions)


def test_streams_and_inner_widths_and_blocks_are_what_can_be_chosen(case: Case) -> None:
    problem = case.assembled().problem
    assert {group.name: group.widths for group in problem.groups} == {
        "stem": (8, 16),
        "first.0.conv1": (8, 16),
        "first.1.conv1": (8, 16),
        "second.0.conv1": (8, 16, 24, 32),
        "second.0.conv2": (8, 16, 24, 32),
        "second.1.conv1": (8, 16, 24, 32),
    }
    blocks = {block.name: block.groups for block in problem.blocks}
    assert blocks["first.1"] == ("first.1.conv1",)
    assert set(blocks) == {"first.0", "first.1", "second.0", "second.1"}


def test_the_network_as_it_is_takes_what_the_table_says_of_it(case: Case) -> None:
    told = case.table.predict_network(case.units.units)
    assert told.latency_ms is not None
    assert full(case.assembled()).latency_ms == pytest.approx(told.latency_ms.value)


@pytest.mark.parametrize("share", [0.8, 0.6, 0.4])
def test_the_network_that_a_plan_makes_takes_the_time_that_was_predicted(
    case: Case, tmp_path: Path, share: float
) -> None:
    limit_ms = share * full(case.assembled()).latency_ms
    solution = solve(case.assembled(limit_ms).problem)
    assert solution.outcome == "FOUND"
    assert solution.plan.latency_ms <= limit_ms * (1 + 1e-9)
    assert case.really_ms(solution.plan, tmp_path) == pytest.approx(solution.plan.latency_ms, rel=1e-6)


def test_a_plan_keeps_widths_and_drops_blocks_as_the_solver_said(case: Case) -> None:
    problem = case.assembled(0.5 * full(case.assembled()).latency_ms).problem
    cutter = PlanCutter(case.network, EXAMPLE, case.coupling, CONFIG)
    for proposal in proposals(problem)[:2]:
        plan = cutter.plan(proposal.solution.plan)
        assert plan == PlanCutter(case.network, EXAMPLE, case.coupling, CONFIG).plan(proposal.solution.plan)
        assert plan.dropped == proposal.solution.plan.dropped
        pruned = apply_plan(case.network, EXAMPLE, plan)
        weights = dict(pruned.named_modules())
        for name, width in proposal.solution.plan.widths.items():
            if name in weights:
                assert weights[name].weight.shape[0] == width  # type: ignore[union-attr]


def test_harm_is_what_was_measured(case: Case) -> None:
    assembled = case.assembled(0.5 * full(case.assembled()).latency_ms)
    plan = solve(assembled.problem).plan
    layers = {unit.layer for unit in case.units.units if unit.layer in assembled.problem.unit}
    kept = [layer for layer in layers if layer in plan.precisions]
    expected = case.sensitivity.harm_of_widths(plan.widths, plan.dropped)
    expected += case.sensitivity.harm_of_precision(kept, "int8")
    assert plan.harm == pytest.approx(expected)


def test_a_table_without_the_network_is_refused(case: Case) -> None:
    empty = LatencyTable(case.table.measured_on)
    with pytest.raises(UserError, match="does not tell the time of conv 3x3"):
        assemble(case.units, case.coupling, empty, case.sensitivity, PlanLimits(latency_ms=1.0))


def test_layers_that_nothing_is_known_of_stay_whole(case: Case) -> None:
    groups = tuple(group for group in case.sensitivity.groups if group.layer != "first.0.conv1")
    known = replace(case.sensitivity, groups=groups)
    assembled = assemble(case.units, case.coupling, case.table, known, PlanLimits(latency_ms=1.0))
    assert "first.0.conv1" not in {group.name for group in assembled.problem.groups}
    assert "no harm was measured" in assembled.kept["first.0.conv1"]
    assert np.isfinite(assembled.problem.units[0].costs["int8"].latency_ms).all()
