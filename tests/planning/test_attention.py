"""Attentions in a plan: heads and what each has of channels are chosen with all else, by the times of their units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from edgekit.compress import PruneConfig, Sensitivity, SensitivityConfig, apply_plan, measure_sensitivity
from edgekit.latency import LatencyTable, NetworkUnits, units_of
from edgekit.model.export import export_onnx
from edgekit.plan.solving import Allocation, PlanLimits, predicted, solve
from edgekit.planning import Assembled, Coupling, PlanCutter, assemble, coupled, unchanged
from tests.compress.nets import random_samples
from tests.planning.attentions import IMAGES, attention_table, small_vit

CONFIG = PruneConfig(importance="magnitude", round_to=8)


class Case:
    """A tiny ViT with all that a plan of it takes."""

    def __init__(self, folder: Path) -> None:
        self.network = small_vit()
        self.path = folder / "network.onnx"
        export_onnx(self.network, IMAGES, self.path)
        self.units: NetworkUnits = units_of(self.path, "onnxruntime", "int8")
        self.table: LatencyTable = attention_table(self.units.units)
        # Norms within a dropped block count as staying: only what is narrowed is predicted to the last digit.
        self.coupling: Coupling = replace(coupled(self.network, IMAGES, CONFIG), blocks=(), block_groups={})
        settings = SensitivityConfig(fractions=(0.5,), samples=32, batch_size=32)
        self.harm: Sensitivity = measure_sensitivity(
            self.network, IMAGES, random_samples(64, side=16), CONFIG, settings
        )

    def assembled(self, limit_ms: float = 1e6) -> Assembled:
        return assemble(self.units, self.coupling, self.table, self.harm, PlanLimits(latency_ms=limit_ms))

    def pruned(self, allocation: Allocation) -> nn.Module:
        plan = PlanCutter(self.network, IMAGES, self.coupling, CONFIG).plan(allocation)
        return apply_plan(self.network, IMAGES, plan)

    def really_ms(self, allocation: Allocation, folder: Path) -> float:
        path = folder / "pruned.onnx"
        export_onnx(self.pruned(allocation), IMAGES, path)
        told = self.table.predict_network(units_of(path, "onnxruntime", "int8").units)
        assert told.latency_ms is not None, [row.outside for row in told.outside]
        return told.latency_ms.value


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"))


def test_heads_and_their_widths_are_choices_beside_all_else(case: Case) -> None:
    groups = {group.name: group.widths for group in case.assembled().problem.groups}
    attention = "net.vit.layers.0.attention"
    assert groups[f"{attention}.q_proj heads"] == (1, 2, 3, 4)
    assert groups[f"{attention}.q_proj"] == (8, 16)
    assert groups[f"{attention}.v_proj"] == (8, 16)
    assert "net.vit.layers.0.mlp.fc1" in groups
    assert len(groups) == 8


def test_the_network_as_it_is_takes_what_the_table_says_of_it(case: Case) -> None:
    told = case.table.predict_network(case.units.units)
    assert told.latency_ms is not None
    assert unchanged(case.assembled().problem).latency_ms == pytest.approx(told.latency_ms.value)


@pytest.mark.parametrize(("heads", "key", "value"), [(2, 16, 16), (3, 8, 16), (1, 16, 8), (4, 8, 8)])
def test_any_shape_of_an_attention_takes_the_time_that_was_predicted(
    case: Case, tmp_path: Path, heads: int, key: int, value: int
) -> None:
    problem = case.assembled().problem
    whole = unchanged(problem)
    attention = "net.vit.layers.1.attention"
    widths = {
        **whole.widths,
        f"{attention}.q_proj heads": heads,
        f"{attention}.q_proj": key,
        f"{attention}.v_proj": value,
    }
    plan = predicted(problem, widths, (), whole.precisions)
    assert case.really_ms(plan, tmp_path) == pytest.approx(plan.latency_ms, rel=1e-6)


@pytest.mark.parametrize("share", [0.85, 0.75])
def test_what_the_solver_chooses_keeps_within_its_limit(case: Case, tmp_path: Path, share: float) -> None:
    limit_ms = share * unchanged(case.assembled().problem).latency_ms
    solution = solve(case.assembled(limit_ms).problem)
    assert solution.outcome == "FOUND"
    assert case.really_ms(solution.plan, tmp_path) == pytest.approx(solution.plan.latency_ms, rel=1e-6)
    assert solution.plan.latency_ms <= limit_ms * (1 + 1e-9)
