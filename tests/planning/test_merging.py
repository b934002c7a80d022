"""Chains of convolutions as one in a plan: offered where a table says so, chosen by the solver, made of the network."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import PruneConfig, PrunePlan, SensitivityConfig, apply_plan, measure_sensitivity
from edgekit.compress.sensitivity.measure import joined
from edgekit.errors import UserError
from edgekit.latency import LatencyTable, units_of
from edgekit.model.export import export_onnx
from edgekit.plan.solving import Allocation, PlanLimits, PlanProblem, predicted, solve
from edgekit.planning import Assembled, PlanCutter, assemble, coupled, merged_units, plan_choices, unchanged
from tests.compress.nets import image_example, random_samples
from tests.planning.networks import formula_table

EXAMPLE = image_example(side=16)
CONFIG = PruneConfig(importance="magnitude", round_to=8)
SETTINGS = SensitivityConfig(fractions=(0.5,), samples=32, batch_size=32)


class Inverted(nn.Module):
    """Sandler et al. 2018 (arXiv:1801.04381), figure 4."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
            nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.adds = stride == 1 and channels == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class SmallMobile(nn.Module):
    """A stem, three inverted residuals of which the second has no shortcut, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Inverted(16, 16, 1), Inverted(16, 32, 2), Inverted(32, 32, 1))
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def dearer(table: LatencyTable, kernel: tuple[int, int], factor: float) -> LatencyTable:
    """The table with dense convolutions of that kernel, from 16 channels on, so many times as slow."""
    timed = [
        replace(row, latency_ms=replace(row.latency_ms, value=row.latency_ms.value * factor))
        if row.unit.family.kind == "conv" and row.unit.family.kernel == kernel and row.unit.channels_in > 3
        else row
        for row in table.timed
    ]
    return replace(table, timed=tuple(timed))


def precisions(problem: PlanProblem) -> dict[str, str]:
    return {unit.name: next(iter(unit.costs)) for unit in problem.units}


class Case:
    """`runtime` and `precision` say which units the network has."""

    def __init__(self, folder: Path, runtime: Any, precision: Any) -> None:
        torch.manual_seed(0)
        self.runtime, self.precision = runtime, precision
        self.network = SmallMobile().eval()
        path = folder / "network.onnx"
        export_onnx(self.network, EXAMPLE, path)
        self.units = units_of(path, runtime, precision)
        self.coupling = coupled(self.network, EXAMPLE, CONFIG)
        merged = [item.unit for item in merged_units(self.units.units, self.coupling)]
        self.table = formula_table((*self.units.units, *merged))
        self.sensitivity = measure_sensitivity(
            self.network, EXAMPLE, random_samples(64, side=16), CONFIG, SETTINGS
        )

    def assembled(self, limit_ms: float = 1e6, table: LatencyTable | None = None) -> Assembled:
        limits = PlanLimits(latency_ms=limit_ms)
        return assemble(self.units, self.coupling, table or self.table, self.sensitivity, limits)

    def really_ms(self, plan: PrunePlan, folder: Path) -> float:
        """Of the network that the plan makes, by the table over its own units."""
        export_onnx(apply_plan(self.network, EXAMPLE, plan), EXAMPLE, folder / "pruned.onnx")
        told = self.table.predict_network(
            units_of(folder / "pruned.onnx", self.runtime, self.precision).units
        )
        assert told.latency_ms is not None, told.outside
        return told.latency_ms.value


@pytest.fixture(
    scope="module", params=[("onnxruntime", "int8"), ("onnxruntime", "fp32"), ("openvino", "int8"), ("litert", "int8")],
    ids="-".join,
)  # fmt: skip
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"), *request.param)


def test_each_block_can_be_merged_and_those_with_a_shortcut_be_dropped(case: Case) -> None:
    problem = case.assembled().problem
    assert {block.name: tuple(block.harms) for block in problem.blocks} == {
        "blocks.0": ("kept", "dropped", "merged"),
        "blocks.1.body": ("kept", "merged"),
        "blocks.2": ("kept", "dropped", "merged"),
    }
    assert {block.name: block.groups for block in problem.blocks} == {
        "blocks.0": ("blocks.0.body.0",),
        "blocks.1.body": ("blocks.1.body.0",),
        "blocks.2": ("blocks.2.body.0",),
    }
    harms = {chain.name: chain.harm for chain in case.sensitivity.chains}
    assert list(harms) == ["blocks.0.body", "blocks.1.body", "blocks.2.body"]
    assert min(harms.values()) > 0
    assert problem.block["blocks.0"].merged_harm == harms["blocks.0.body"]
    assert case.sensitivity.harm_of(PrunePlan(merged=("blocks.0.body", "blocks.2.body"))) == pytest.approx(
        harms["blocks.0.body"] + harms["blocks.2.body"]
    )


@pytest.mark.parametrize(
    ("dropped", "merged", "stream"),
    [
        ((), ("blocks.0",), 32),
        ((), ("blocks.1.body",), 32),
        (("blocks.2",), ("blocks.0", "blocks.1.body"), 32),
        ((), ("blocks.0", "blocks.1.body", "blocks.2"), 16),
    ],
)
def test_what_merging_takes_is_what_the_merged_network_takes(
    case: Case, tmp_path: Path, dropped: tuple[str, ...], merged: tuple[str, ...], stream: int
) -> None:
    problem = case.assembled().problem
    whole = unchanged(problem)
    widths = {**whole.widths, "blocks.1.body.6": stream}
    plan = predicted(problem, widths, dropped, precisions(problem), merged)
    assert plan.latency_ms < whole.latency_ms
    cut = PlanCutter(case.network, EXAMPLE, case.coupling, CONFIG).plan(plan)
    chains = {"blocks.0": "blocks.0.body", "blocks.2": "blocks.2.body"}
    assert cut.merged == tuple(chains.get(name, name) for name in merged)
    assert case.really_ms(cut, tmp_path) == pytest.approx(plan.latency_ms, rel=1e-6)


def test_the_solver_merges_where_that_is_worth_its_time(case: Case, tmp_path: Path) -> None:
    """Harm of all else is made large, so that merging is the way to less time."""
    whole_ms = unchanged(case.assembled().problem).latency_ms
    problem = case.assembled(0.9 * whole_ms).problem
    problem = replace(
        problem,
        blocks=tuple(
            replace(block, harm=None if block.harm is None else 1e3, merged_harm=0.1)
            for block in problem.blocks
        ),
        groups=tuple(
            replace(group, harm=tuple(1e3 * (group.widths[-1] - width) for width in group.widths))
            for group in problem.groups
        ),
    )
    solution = solve(problem)
    assert solution.outcome == "FOUND"
    assert solution.plan.merged
    assert not solution.plan.dropped
    cut = PlanCutter(case.network, EXAMPLE, case.coupling, CONFIG).plan(solution.plan)
    assert case.really_ms(cut, tmp_path) == pytest.approx(solution.plan.latency_ms, rel=1e-6)
    told = {(choice.name, choice.chosen, choice.otherwise) for choice in plan_choices(problem, solution.plan)}
    for name in solution.plan.merged:
        assert (name, "merged", "kept, its inside whole") in told


def test_it_is_not_offered_where_one_convolution_is_no_faster(case: Case) -> None:
    assembled = case.assembled(table=dearer(case.table, (3, 3), 1000.0))
    assert [block.name for block in assembled.problem.blocks] == ["blocks.0", "blocks.2"]
    assert all(block.merged_harm is None for block in assembled.problem.blocks)
    assert any("which is no faster: blocks.0, blocks.1.body, blocks.2" in note for note in assembled.notes)


def test_it_is_not_offered_where_the_table_does_not_tell_its_time(case: Case) -> None:
    assembled = case.assembled(table=formula_table(case.units.units))
    assert all(block.merged_harm is None for block in assembled.problem.blocks)


def test_a_plan_that_merges_what_cannot_be_is_refused(case: Case) -> None:
    problem = case.assembled(table=formula_table(case.units.units)).problem
    whole = unchanged(problem)
    with pytest.raises(UserError, match=r"block blocks\.0 cannot be merged; allowed: kept, dropped"):
        predicted(problem, whole.widths, (), precisions(problem), ("blocks.0",))


def test_shares_of_a_measurement_give_the_chains_of_the_whole(case: Case) -> None:
    data = random_samples(64, side=16)
    shares = [
        measure_sensitivity(case.network, EXAMPLE, data, CONFIG, SETTINGS, share=(place, 2))
        for place in (0, 1)
    ]
    assert joined(shares).chains == case.sensitivity.chains


def test_other_merges_are_other_choices(case: Case) -> None:
    problem = case.assembled().problem
    whole = unchanged(problem)
    names = [block.name for block in problem.blocks]
    subsets = [names[:count] for count in range(len(names) + 1)]
    plans: list[Allocation] = [
        predicted(problem, whole.widths, (), precisions(problem), subset) for subset in subsets
    ]
    assert all(a.choices != b.choices for a, b in itertools.combinations(plans, 2))
