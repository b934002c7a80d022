"""What a plan keeps in float is float in the file that a backend writes; part of `BackendContract`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.backends import open_reader
from edgekit.backends.tensors import TensorFacts
from edgekit.graph.proto import read_model
from edgekit.graph.signature import signature_of
from edgekit.quantize import QuantPlan
from edgekit.quantize.recipe import Recipe
from edgekit.testing.exports import Exports
from edgekit.testing.onnx_networks import as_variant, detector_network
from edgekit.types import Artifact

__all__ = ["FloatContract"]


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
