"""The width of a residual stream in a plan: chosen with all else, and the units of what is left are those foreseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    PruneStep,
    SensitivityConfig,
    apply_plan,
    measure_sensitivity,
)
from edgekit.compress.base import Example
from edgekit.compress.folding import folded
from edgekit.compress.pruning.cost import network_macs
from edgekit.latency import NetworkUnits, units_of
from edgekit.model.export import export_onnx
from edgekit.plan.solving import PlanLimits, predicted, solve
from edgekit.planning import Coupling, PlanCutter, assemble, coupled, unchanged
from edgekit.planning.carrying import CarriedChannels, packed_layers
from edgekit.planning.placing import linked_attentions, placed_units
from edgekit.types import BackendName
from tests.compress import transformers as written
from tests.compress.nets import random_samples
from tests.planning.attentions import IMAGES, SENTENCES, attention_table, small_bert, small_vit, with_biases

CONFIG = PruneConfig(importance="magnitude", round_to=8)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Example, str]] = {
    "vit": (partial(small_vit, depth=1), IMAGES, "net.vit.embeddings.patch_embeddings.projection"),
    "bert": (small_bert, SENTENCES, "net.bert.encoder.layer.0.attention.output.dense"),
    "fused": (partial(written.FusedViT, depth=1), written.IMAGE, "patches"),
    "torch": (written.TorchEncoder, written.IMAGE, "patches"),
}


class Narrowed:
    """A network, and it with half of its stream and of a perceptron; both exported."""

    def __init__(self, name: str, folder: Path) -> None:
        make, example, stream = NETWORKS[name]
        network = folded(with_biases(make()).eval())
        self.coupling: Coupling = coupled(network, example, CONFIG)
        full = {group.name: group.widths[-1] for group in self.coupling.groups}
        attended = {group for attention in self.coupling.attentions for group in attention.groups}
        perceptron = next(group for group in full if group != stream and group not in attended)
        self.widths = {stream: full[stream] // 2, perceptron: full[perceptron] // 2}
        steps = tuple(
            PruneStep(group, full[group], tuple(range(width))) for group, width in self.widths.items()
        )
        self.path, self.narrow_path = folder / "network.onnx", folder / "narrow.onnx"
        export_onnx(network, example, self.path)
        export_onnx(apply_plan(network, example, PrunePlan(steps)), example, self.narrow_path)


@pytest.fixture(scope="module", params=NETWORKS)
def narrowed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Narrowed:
    return Narrowed(request.param, tmp_path_factory.mktemp("narrowed"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_the_units_of_a_narrower_stream_are_those_that_were_foreseen(
    narrowed: Narrowed, runtime: BackendName
) -> None:
    whole, coupling = units_of(narrowed.path, runtime, "fp32"), narrowed.coupling
    linked = linked_attentions(whole.units, coupling, {})
    carried = CarriedChannels(whole.units, coupling, whole.carried)
    full = {group.name: group.widths[-1] for group in coupling.groups}
    real = units_of(narrowed.narrow_path, runtime, "fp32")
    widths = {**full, **narrowed.widths}
    placed = placed_units(whole.units, coupling, linked, set(full), {}, carried)
    foreseen = [unit.text() for item in placed for unit in item.at(widths)]
    assert sorted(foreseen) == sorted(unit.text() for unit in real.units)


class Case:
    """A tiny ViT with all that a plan of it takes."""

    def __init__(self, folder: Path) -> None:
        self.network, self.stream = small_vit(), "net.vit.embeddings.patch_embeddings.projection"
        self.path = folder / "network.onnx"
        export_onnx(self.network, IMAGES, self.path)
        # Norms within a dropped block count as staying: only what is narrowed is predicted to the last digit.
        self.coupling: Coupling = replace(coupled(self.network, IMAGES, CONFIG), blocks=(), block_groups={})
        settings = SensitivityConfig(fractions=(0.75, 0.5), samples=32, batch_size=32)
        self.harm = measure_sensitivity(self.network, IMAGES, random_samples(64, side=16), CONFIG, settings)

    def units(self, runtime: BackendName) -> NetworkUnits:
        return units_of(self.path, runtime, "int8")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_a_plan_narrows_the_stream_and_takes_the_time_that_was_predicted(
    case: Case, runtime: BackendName, tmp_path: Path
) -> None:
    units = case.units(runtime)
    table = attention_table(units.to_measure, runtime)
    anyhow = assemble(units, case.coupling, table, case.harm, PlanLimits(latency_ms=1e6))
    assert {group.name: group.widths for group in anyhow.problem.groups}[case.stream] == tuple(
        range(8, 65, 8)
    )
    assert any(
        note.endswith(f"norms go over the channels that are left: {case.stream}") for note in anyhow.notes
    )
    whole = unchanged(anyhow.problem)
    narrowest = {group.name: group.widths[0] for group in anyhow.problem.groups} | {case.stream: 64}
    limit_ms = 0.95 * predicted(anyhow.problem, narrowest, (), whole.precisions).latency_ms
    limits = PlanLimits(latency_ms=limit_ms)
    solution = solve(assemble(units, case.coupling, table, case.harm, limits).problem)
    assert solution.outcome == "FOUND"
    assert solution.plan.widths[case.stream] < 64
    plan = PlanCutter(case.network, IMAGES, case.coupling, CONFIG).plan(solution.plan)
    pruned = apply_plan(case.network, IMAGES, plan)
    assert plan.macs == network_macs(pruned, IMAGES)
    export_onnx(pruned, IMAGES, tmp_path / "pruned.onnx")
    told = table.predict_network(units_of(tmp_path / "pruned.onnx", runtime, "int8").units)
    assert told.latency_ms is not None, [row.outside for row in told.outside]
    assert told.latency_ms.value == pytest.approx(solution.plan.latency_ms, rel=1e-6)


def test_the_stream_has_a_harm_of_its_own_at_each_width(case: Case) -> None:
    (stream,) = (group for group in case.harm.groups if group.layer == case.stream)
    assert [point.width for point in stream.measured] == [48, 32]
    assert 0 < stream.harm(48) <= stream.harm(32) < stream.harm(16)
    assert len(stream.makers) == 5  # patches, and two layers of each of two blocks


def test_without_a_product_for_each_attention_packed_layers_have_no_time(case: Case) -> None:
    units = case.units("litert")
    carried = CarriedChannels(units.units, case.coupling, units.carried)
    assert "net.vit.layers.0.attention.q_proj" in packed_layers(units.units, case.coupling, carried)
    packed = [unit for unit in units.units if unit.family.kind == "linear" and not unit.layer]
    fewer = [unit for unit in units.units if unit is not packed[0]]
    assert packed_layers(fewer, case.coupling, carried) == frozenset()
    table = attention_table(units.to_measure, "litert")
    left = assemble(
        replace(units, units=tuple(fewer)), case.coupling, table, case.harm, PlanLimits(latency_ms=1.0)
    )
    assert case.stream not in {group.name for group in left.problem.groups}
    assert left.kept[case.stream] == "the table tells no time of net.vit.layers.0.attention.q_proj"
