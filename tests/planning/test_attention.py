"""Attentions in a plan: heads and what each has of channels are chosen with all else, by the times of their units."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    PruneStep,
    Sensitivity,
    SensitivityConfig,
    apply_plan,
    measure_sensitivity,
)
from edgekit.compress.base import Example
from edgekit.compress.folding import folded
from edgekit.compress.pruning.cost import network_macs
from edgekit.errors import UserError
from edgekit.latency import LatencyTable, NetworkUnits, units_of
from edgekit.model.export import export_onnx
from edgekit.plan.solving import Allocation, PlanLimits, predicted, solve
from edgekit.planning import (
    Assembled,
    Coupling,
    PlanCutter,
    assemble,
    attention_choices,
    coupled,
    plan_choices,
    unchanged,
)
from edgekit.planning.carrying import CarriedChannels
from edgekit.planning.placing import linked_attentions, placed_units
from edgekit.types import BackendName
from tests.compress import transformers as written
from tests.compress.nets import random_samples
from tests.planning.attentions import IMAGES, SENTENCES, attention_table, small_bert, small_vit, with_biases

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
    assert len(groups) == 9


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


def test_without_heads_it_computes_what_it_does_with_zeros_for_them(case: Case) -> None:
    whole = unchanged(case.assembled().problem)
    attention = "net.vit.layers.0.attention"
    widths = {**whole.widths, f"{attention}.q_proj heads": 2, f"{attention}.v_proj": 8}
    plan = PlanCutter(case.network, IMAGES, case.coupling, CONFIG).plan(replace(whole, widths=widths))
    pruned = apply_plan(case.network, IMAGES, plan)
    steps = {step.layer: step for step in plan.steps}
    zeroed = copy.deepcopy(case.network)
    reader = zeroed.get_submodule(f"{attention}.o_proj").get_parameter("weight")
    with torch.no_grad():
        by_head = reader.view(64, 4, 16)
        by_head[:, list(steps[f"{attention}.q_proj heads"].removed)] = 0.0
        by_head[:, :, list(steps[f"{attention}.v_proj"].removed)] = 0.0
        images = torch.randn(5, 3, 16, 16)
        assert pruned.get_submodule(f"{attention}.o_proj").get_parameter("weight").shape == (64, 2 * 8)
        assert not torch.allclose(case.network(images), zeroed(images), atol=1e-3)
        torch.testing.assert_close(pruned(images), zeroed(images), rtol=1e-4, atol=1e-5)


def test_a_plan_costs_the_macs_of_what_it_leaves(case: Case) -> None:
    whole = unchanged(case.assembled().problem)
    attention = "net.vit.layers.0.attention"
    widths = {**whole.widths, f"{attention}.q_proj heads": 1, f"{attention}.q_proj": 8}
    plan = PlanCutter(case.network, IMAGES, case.coupling, CONFIG).plan(replace(whole, widths=widths))
    assert plan.original_macs == sum(unit.macs for unit in case.units.units)
    pruned = apply_plan(case.network, IMAGES, plan)
    assert plan.macs == network_macs(pruned, IMAGES)


def test_heads_and_the_channels_of_each_have_a_harm_of_their_own(case: Case) -> None:
    attention = "net.vit.layers.0.attention"
    by_name = {group.layer: group for group in case.harm.groups}
    heads, keys = by_name[f"{attention}.q_proj heads"], by_name[f"{attention}.q_proj"]
    assert (heads.width, heads.unit, keys.width, keys.unit) == (4, "head", 16, "channel")
    assert case.harm.harm_of_widths({f"{attention}.q_proj heads": 2}) == heads.harm(2) > 0
    assert case.harm.harm_of_widths({f"{attention}.k_proj heads": 2}) == heads.harm(2)
    assert case.harm.harm_of_widths({f"{attention}.q_proj": 8}) == keys.harm(8) > 0
    assert Sensitivity.from_json(case.harm.to_json()) == case.harm


def test_what_is_left_of_each_attention_is_told(case: Case) -> None:
    assembled = case.assembled()
    whole = unchanged(assembled.problem)
    attention = "net.vit.layers.0.attention"
    widths = {**whole.widths, f"{attention}.q_proj heads": 1, f"{attention}.q_proj": 8}
    plan = predicted(assembled.problem, widths, (), whole.precisions)
    first, second = attention_choices(case.coupling, assembled.kept, plan_choices(assembled.problem, plan))
    assert first.layer == f"{attention}.o_proj"
    assert (first.heads, first.key, first.value) == ("1 of 4", "8 of 16", "16 of 16")
    assert first.why.startswith(f"{attention}.v_proj: 8 would change ")
    assert (second.heads, second.key, second.value) == ("4 of 4", "16 of 16", "16 of 16")
    assert "heads: 3 would change -" in second.why


def test_an_attention_that_no_table_times_stays_whole_with_its_reason(case: Case) -> None:
    """As one that is written in a way that no unit is."""
    units = NetworkUnits(tuple(unit for unit in case.units.units if unit.family.kind != "attention"), ())
    assembled = assemble(units, case.coupling, case.table, case.harm, PlanLimits(latency_ms=1.0))
    assert {group.name for group in assembled.problem.groups} == {
        "net.vit.embeddings.patch_embeddings.projection", "net.vit.layers.0.mlp.fc1", "net.vit.layers.1.mlp.fc1"
    }  # fmt: skip
    assert (
        "none that the table's runtime is timed with" in assembled.kept["net.vit.layers.0.attention.q_proj"]
    )
    plan = unchanged(assembled.problem)
    told = attention_choices(case.coupling, assembled.kept, plan_choices(assembled.problem, plan))
    assert all("none that the table's runtime is timed with" in attention.why for attention in told)


def test_a_plan_for_litert_narrows_attentions_by_their_units(case: Case, tmp_path: Path) -> None:
    units = units_of(case.path, "litert", "int8")
    table = attention_table(units.units, "litert")
    problem = assemble(units, case.coupling, table, case.harm, PlanLimits(latency_ms=1e6)).problem
    whole = unchanged(problem)
    first, second = (f"net.vit.layers.{layer}.attention" for layer in range(2))
    narrow = {f"{first}.q_proj heads": 3, f"{first}.q_proj": 8, f"{second}.q_proj heads": 1}
    plan = predicted(problem, {**whole.widths, **narrow}, (), whole.precisions)
    export_onnx(case.pruned(plan), IMAGES, tmp_path / "pruned.onnx")
    told = table.predict_network(units_of(tmp_path / "pruned.onnx", "litert", "int8").units)
    assert told.latency_ms is not None, [row.outside for row in told.outside]
    assert plan.latency_ms == pytest.approx(told.latency_ms.value, rel=1e-6)
    assert plan.latency_ms < whole.latency_ms


def test_a_masked_attention_stays_whole_in_a_plan_for_litert(tmp_path: Path) -> None:
    network = with_biases(written.BertLike()).eval()
    export_onnx(network, written.TOKENS, tmp_path / "network.onnx")
    coupling = coupled(network, written.TOKENS, CONFIG)
    kept: dict[str, str] = {}
    units = units_of(tmp_path / "network.onnx", "litert", "fp32").units
    assert linked_attentions(units, coupling, kept) == ()
    assert all("none that the table's runtime is timed with" in reason for reason in kept.values())
    assert set(kept) == set(coupling.attentions[0].makers)


def test_heads_that_the_table_does_not_reach_are_told(case: Case) -> None:
    others = [row for row in case.table.timed if row.unit.family.kind != "attention"]
    whole = [
        row for row in case.table.timed if row.unit.family.kind == "attention" and row.unit.family.groups == 4
    ]
    few = LatencyTable(case.table.measured_on).with_timed([*others, *whole])
    assembled = assemble(case.units, case.coupling, few, case.harm, PlanLimits(latency_ms=1.0))
    name = "net.vit.layers.0.attention.q_proj heads"
    assert {group.name: group.widths for group in assembled.problem.groups}[name] == (4,)
    assert assembled.kept[name] == "the table does not reach fewer heads of it"
    without = LatencyTable(case.table.measured_on).with_timed(others)
    with pytest.raises(UserError, match="does not tell the time of attention in 4 heads"):
        assemble(case.units, case.coupling, without, case.harm, PlanLimits(latency_ms=1.0))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_sentence_encoder_s_attention_is_linked_with_its_layers(
    runtime: BackendName, tmp_path: Path
) -> None:
    network = small_bert()
    export_onnx(network, SENTENCES, tmp_path / "network.onnx")
    units = units_of(tmp_path / "network.onnx", runtime, "fp32").units
    coupling = coupled(network, SENTENCES, CONFIG)
    kept: dict[str, str] = {}
    (link,) = linked_attentions(units, coupling, kept)
    assert kept == {}
    assert link.attention.reader == "net.bert.encoder.layer.0.attention.output.dense"
    form = next(unit.family.attention for unit in units if unit.family.kind == "attention")
    assert form is not None
    assert form.masked
    full = {group.name: group.widths[-1] for group in coupling.groups}
    narrow = {**full, link.attention.heads: 3, link.attention.key: 8}
    placed = placed_units(units, coupling, (link,), set(full), {}, CarriedChannels(units, coupling, {}))
    changed = [item.at(narrow) for item in placed if item.at(narrow) != (item.unit,)]
    assert (
        sum(len(become) for become in changed) == 5
    )  # three projections, the attention, the layer behind it


WRITTEN: dict[str, tuple[Callable[[], nn.Module], Example]] = {
    "fused": (lambda: written.FusedViT(depth=1), written.IMAGE),
    "separate": (lambda: written.SeparateViT(explicit=False), written.IMAGE),
    "bert": (written.BertLike, written.TOKENS),
    "torch": (written.TorchEncoder, written.IMAGE),
    "gpt": (written.GptLike, written.IMAGE),
}


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        *((name, "onnxruntime") for name in WRITTEN),
        *((name, "litert") for name in ("fused", "separate", "torch")),
    ],
)
def test_the_units_of_a_narrowed_attention_are_those_that_were_foreseen(
    name: str, runtime: BackendName, tmp_path: Path
) -> None:
    """However it is written, and whether the exporter packs its projections into one or not."""
    make, example = WRITTEN[name]
    network = folded(with_biases(make()).eval())
    export_onnx(network, example, tmp_path / "network.onnx")
    units = units_of(tmp_path / "network.onnx", runtime, "fp32").units
    coupling = coupled(network, example, replace(CONFIG, round_to=4))
    kept: dict[str, str] = {}
    linked = linked_attentions(units, coupling, kept)
    assert len(linked) == len(coupling.attentions) > 0
    full = {group.name: group.widths[-1] for group in coupling.groups}
    placed = placed_units(units, coupling, linked, set(full), {}, CarriedChannels(units, coupling, {}))
    attention = linked[0].attention
    for heads, key, value in ((3, full[attention.key], full[attention.value]), (1, 4, full[attention.value])):
        widths = {**full, attention.value: value, attention.key: key, attention.heads: heads}
        steps = [
            PruneStep(group, full[group], tuple(range(width)))
            for group, width in widths.items()
            if width < full[group]
        ]
        export_onnx(apply_plan(network, example, PrunePlan(tuple(steps))), example, tmp_path / "narrow.onnx")
        foreseen = [unit.text() for item in placed for unit in item.at(widths)]
        real = [unit.text() for unit in units_of(tmp_path / "narrow.onnx", runtime, "fp32").units]
        assert sorted(foreseen) == sorted(real)


@pytest.mark.parametrize("make", [written.SeparateViT, written.GroupedQueries])
def test_an_attention_of_einsums_or_of_shared_keys_stays_whole(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    network = with_biases(make()).eval()
    export_onnx(network, written.IMAGE, tmp_path / "network.onnx")
    units = units_of(tmp_path / "network.onnx", "onnxruntime", "fp32").units
    coupling = coupled(network, written.IMAGE, CONFIG)
    kept: dict[str, str] = {}
    assert linked_attentions(units, coupling, kept) == ()
    (attention,) = coupling.attentions
    assert set(kept) == set(attention.makers)
