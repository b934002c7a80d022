"""What a plan keeps in float is float in the file that a backend writes; part of `BackendContract`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.backends import open_reader
from edgekit.backends.base import ExportRequest
from edgekit.backends.tensors import TensorFacts
from edgekit.graph.proto import read_model
from edgekit.graph.signature import signature_of
from edgekit.quantize import Border, PrecisionTimes, QuantPlan, SwitchableUnit
from edgekit.quantize.recipe import Recipe, at_share
from edgekit.testing.exports import Exports
from edgekit.testing.memo import CountingMemo
from edgekit.testing.onnx_networks import OUTPUT, as_variant, detector_network
from edgekit.types import Artifact

__all__ = ["FloatContract"]

RESULTS = {
    "stem": {"c1", "r1"},
    "inner": {"c2", "r2"},
    "widen": {"c3"},
    "head": {OUTPUT},
}
"""Layers of `residual_network` → the tensors that a file may name them by."""


class FloatContract(Exports):
    """By a small detector, whose boxes and scores have no common scale: a Concat and what moves its result stay float,
    and of its convolutions those that the recipe names or that are sensitive."""

    @pytest.mark.parametrize("moved", [False, True])
    def test_tensors_that_have_no_common_scale_are_float_in_the_file(
        self, tmp_path: Path, moved: bool
    ) -> None:
        plan, artifact = self._detector(tmp_path, moved)
        apart = plan.kept("apart")
        assert "joined" in apart
        shown = self._of_layers(tmp_path, artifact, apart)
        assert shown
        assert [facts.name for facts in shown if facts.grid is not None] == []

    @pytest.mark.parametrize("count", [1.0, 2.0])
    def test_sensitive_layers_are_float_in_the_file(self, tmp_path: Path, count: float) -> None:
        plan, artifact = self._detector(tmp_path, False, keep_float=count)
        self._expect_float(tmp_path, artifact, plan.kept("sensitive"), int(count))

    def test_layers_that_the_recipe_names_are_float_in_the_file(self, tmp_path: Path) -> None:
        plan, artifact = self._detector(tmp_path, False, keep_float_ops=("Conv",))
        self._expect_float(tmp_path, artifact, plan.kept("recipe"), 4)

    def test_layers_chosen_by_their_times_run_in_float_and_no_others(self, tmp_path: Path) -> None:
        artifact = self.make_backend().export(self._timed(tmp_path, inner=0.1, widen=0.1))
        kept = () if artifact.quantization is None else artifact.quantization.in_float
        chosen = {layer.name: layer for layer in kept if layer.reason == "sensitive"}
        assert chosen.keys() == {"inner", "widen"}
        for layer in chosen.values():
            assert layer.extra_ms == pytest.approx(0.1)
            assert layer.noise is not None
            assert 0 < layer.noise < 1
        for name, results in RESULTS.items():
            shown = tuple(facts for facts in self._shown(artifact) if results & {facts.name, *facts.names})
            assert shown, name
            grids = {facts.weights.grid for facts in shown if facts.weights is not None}
            assert grids <= ({""} if name in chosen else {"per-channel", "per-tensor"}), name
        if self.make_backend().on_host(artifact) == artifact:
            ran = {name: set[str]() for name in RESULTS}
            for executed in artifact.audit.layers:
                for name, results in RESULTS.items():
                    if executed.name in {name, f"{name}_relu", *results}:
                        ran[name].add(executed.precision)
            assert {name: kinds == {"fp32"} for name, kinds in ran.items()} == {
                name: name in chosen for name in RESULTS
            }

    def test_other_times_make_another_plan(self, tmp_path: Path) -> None:
        memo = CountingMemo()
        kept = []
        for times in ({"head": 0.1}, {"widen": 0.1}, {"head": 0.1}):
            request = replace(self._timed(tmp_path, **times), memo=memo)
            kept.append(self.make_backend().plan(request).kept("sensitive"))
        assert kept == [("head",), ("widen",), ("head",)]
        assert memo.made["plan"] == 2
        assert memo.made["noise"] == 1

    def test_a_recipe_that_is_searched_from_knows_the_sets_that_shares_of_the_time_give(
        self, tmp_path: Path
    ) -> None:
        request = self._timed(tmp_path, inner=0.1, widen=0.1, head=0.25)
        recipe = self._plain_recipe(keep_float=1.0, float_time=0.2, most_float_time=0.5)
        plan = self.make_backend().plan(replace(request, recipe=recipe))
        percents = [point.percent for point in plan.frontier]
        assert percents
        assert percents == sorted(set(percents))
        assert [point.noise for point in plan.frontier] == sorted(
            (point.noise for point in plan.frontier), reverse=True
        )
        assert self.make_backend().export(replace(request, recipe=recipe)).quantization == plan.summary()
        chosen = set()
        for point in plan.frontier:
            own = self.make_backend().plan(replace(request, recipe=at_share(recipe, point.percent)))
            assert own.frontier == ()
            extra = sum(layer.extra_ms or 0.0 for layer in own.in_float)
            assert extra == pytest.approx(point.extra), "the INT8 network takes 1 ms, and borders nothing"
            chosen.add(own.kept("sensitive"))
        assert len(chosen) == len(percents)

    def test_a_recipe_without_a_share_of_time_chooses_as_if_there_were_no_times(self, tmp_path: Path) -> None:
        request = self._timed(tmp_path, inner=0.1)
        recipe = self._plain_recipe(keep_float=2.0)
        plans = [
            self.make_backend().plan(replace(request, recipe=recipe, times=times))
            for times in (request.times, None)
        ]
        assert plans[0] == plans[1]

    def test_only_what_the_plan_keeps_is_float(self, tmp_path: Path) -> None:
        plan, artifact = self._detector(tmp_path, False)
        weighted = [facts for facts in self._shown(artifact) if facts.weights is not None]
        layers = {facts.layer for facts in weighted if facts.weights and facts.weights.grid == ""}
        assert plan.kept("sensitive", "recipe") == ()
        assert layers == set()

    def _expect_float(self, tmp_path: Path, artifact: Artifact, layers: tuple[str, ...], count: int) -> None:
        assert len(layers) == count
        shown = {facts.name: facts for facts in self._shown(artifact)}
        for layer in layers:
            results = self._of_layers(tmp_path, artifact, (layer,))
            assert results, f"the file shows nothing of {layer}"
            assert _is_float(results, shown), f"{layer} is computed in integers in the file"

    def _detector(self, tmp_path: Path, moved: bool, **changes: Any) -> tuple[QuantPlan, Artifact]:
        """The plan of the detector and what is made by it. `changes`: of the recipe."""
        path = detector_network(tmp_path / "detector.onnx", moved=moved)
        variant = replace(as_variant(path), signature=signature_of(read_model(path)))
        recipe = self._plain_recipe(**changes)
        request = replace(self._request(tmp_path, recipe=recipe), variant=variant)
        return self.make_backend().plan(request), self.make_backend().export(request)

    def _timed(self, tmp_path: Path, **extra_ms: float) -> ExportRequest:
        """An export of the residual network by a recipe that allows half of its time, where these layers take so much
        longer in float; of others no time is known."""
        recipe = self._plain_recipe(keep_float=1.0, float_time=0.5)
        units = tuple(
            SwitchableUnit(nodes, extra_ms.get(nodes[0]))
            for nodes in (("stem", "stem_relu"), ("inner", "inner_relu"), ("widen",), ("head",))
        )
        borders = tuple(
            Border(tensor, maker, readers, 0.0)
            for tensor, maker, readers in (("r1", 0, (1,)), ("r2", 1, (2,)), ("c3", 2, (None,)))
        )
        times = PrecisionTimes(units, borders, 1.0, True, "a board that is made up")
        return replace(self._request(tmp_path, recipe=recipe), times=times)

    def _plain_recipe(self, **changes: Any) -> Recipe:
        """The backend's recipe with ranges that are ours, and no layer kept for its sensitivity."""
        import msgspec

        from edgekit.quantize import find_recipe

        plain = {"observer": "minmax", "keep_float": 0.0, "keep_float_ops": ()}
        return msgspec.structs.replace(find_recipe(self.recipe), **{**plain, **changes})

    def _of_layers(
        self, tmp_path: Path, artifact: Artifact, layers: tuple[str, ...]
    ) -> tuple[TensorFacts, ...]:
        """What the file shows of these nodes' results; of one whose activation is fused into it, that one's."""
        nodes = read_model(tmp_path / "detector.onnx").graph.node
        results = {name for node in nodes if node.name in layers for name in node.output}
        results |= {node.output[0] for node in nodes if node.op_type == "Relu" and node.input[0] in results}
        return tuple(facts for facts in self._shown(artifact) if results & {facts.name, *facts.names})

    def _shown(self, artifact: Artifact) -> tuple[TensorFacts, ...]:
        with open_reader(artifact) as reader:
            return reader.tensors


def _is_float(layer: Sequence[TensorFacts], shown: Mapping[str, TensorFacts]) -> bool:
    """Whether a layer's weights are float, or where a reader shows none (behind an activation), its inputs are."""
    grids = [facts.weights.grid for facts in layer if facts.weights is not None]
    if grids:
        return set(grids) == {""}
    return all(shown[name].grid is None for facts in layer for name in facts.inputs)
