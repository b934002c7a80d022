"""What every backend makes of a recipe: each key is honoured, or refused by its name; part of `BackendContract`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekit.backends import open_reader
from edgekit.backends.tensors import TensorFacts
from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.quantize import QuantPlan, Recipe, find_recipe
from edgekit.quantize.plan import decode_plan, encode_plan
from edgekit.testing.exports import Exports
from edgekit.testing.memo import CountingMemo
from edgekit.types import Artifact

__all__ = ["PlanContract"]


class PlanContract(Exports):
    """A plan says what the artifact holds; a key that a backend cannot honour is a StageError with key and runtime."""

    @pytest.mark.parametrize("observer", ["minmax", "percentile", "entropy", "mse", "nncf"])
    def test_the_observer_is_the_recipe_s_or_refused(self, tmp_path: Path, observer: str) -> None:
        plan = self._plan_or_refusal(tmp_path, "observer", observer=observer)
        if plan is not None:
            other = self._plan(tmp_path, observer="mse" if observer == "minmax" else "minmax")
            assert plan.observer == observer
            assert plan.ranges != other.ranges
            assert ("ranges" in plan.left_to_runtime) == (observer == "nncf")

    def test_the_percentile_cuts_the_ranges(self, tmp_path: Path) -> None:
        wide, narrow = (
            self._plan(tmp_path, observer="percentile", percentile=share).ranges for share in (100.0, 90.0)
        )
        assert wide.keys() == narrow.keys()
        assert all(narrow[name].high <= wide[name].high for name in wide)
        assert narrow != wide

    @pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
    def test_weights_have_the_granularity_of_the_recipe(self, tmp_path: Path, granularity: str) -> None:
        recipe = self._recipe(granularity=granularity)
        kinds = {
            facts.weights.grid
            for facts in self._tensors(self._export(tmp_path, recipe=recipe))
            if facts.weights is not None and facts.op == "conv"
        }
        assert kinds <= {granularity}  # a reader need not show weights that stand between Q/DQ pairs
        assert self._files(tmp_path, granularity="per-channel") != self._files(
            tmp_path, granularity="per-tensor"
        )
        plan = self._plan(tmp_path, granularity=granularity)
        assert plan.integers.per_channel == (granularity == "per-channel")

    def test_no_more_samples_are_looked_at_than_the_recipe_says(self, tmp_path: Path) -> None:
        few, all_of_them = self._plan(tmp_path, samples=16), self._plan(tmp_path, samples=64)
        assert (few.samples, all_of_them.samples) == (16, 64)
        assert few.ranges != all_of_them.ranges
        assert self._files(tmp_path, samples=16) != self._files(tmp_path, samples=64)

    def test_each_way_of_bias_correction_gives_another_artifact(self, tmp_path: Path) -> None:
        files = [self._files(tmp_path, bias_correction=mode) for mode in ("none", "fast", "full")]
        assert files[0] != files[1] != files[2] != files[0]

    def test_without_bias_correction_no_bias_is_corrected(self, tmp_path: Path) -> None:
        assert self._plan(tmp_path, bias_correction="none").summary().corrected_biases == 0
        assert self._plan(tmp_path, bias_correction="fast").summary().corrected_biases != 0

    def test_as_many_layers_as_the_recipe_says_stay_float(self, tmp_path: Path) -> None:
        for count in (0, 1, 2):
            plan = self._plan(tmp_path, keep_float=float(count))
            assert len(plan.kept("sensitive")) == count
            artifact = self._export(tmp_path, recipe=self._recipe(keep_float=float(count)))
            assert self._float_layers(artifact) == count

    def test_operations_that_the_recipe_names_stay_float_or_are_refused(self, tmp_path: Path) -> None:
        plan = self._plan_or_refusal(tmp_path, "keep_float_ops", keep_float_ops=("Gemm",))
        if plan is not None:
            assert plan.kept("recipe") == ("head",)
            artifact = self._export(tmp_path, recipe=self._recipe(keep_float_ops=("Gemm",)))
            (head,) = (facts for facts in self._tensors(artifact) if facts.op == "dense")
            assert head.weights is not None
            assert head.weights.grid == ""
            assert self._float_layers(artifact) == 1

    def test_all_operations_that_multiply_can_stay_float(self, tmp_path: Path) -> None:
        kept = self._recipe(keep_float_ops=("Conv", "Gemm"))
        assert self._float_layers(self._export(tmp_path, recipe=kept)) == 4

    def test_layers_in_float_are_not_counted_twice(self, tmp_path: Path) -> None:
        plan = self._plan(tmp_path, keep_float=1.0, keep_float_ops=("Gemm",))
        assert "head" not in plan.kept("sensitive")
        assert len(plan.kept("sensitive", "recipe")) == 2

    def test_integers_at_the_artifact_s_ends_are_the_recipe_s_or_refused(self, tmp_path: Path) -> None:
        plan = self._plan_or_refusal(tmp_path, "io", io="int8")
        if plan is not None:
            assert plan.io == "int8"
            assert self._files(tmp_path, io="int8") != self._files(tmp_path, io="float")

    @pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
    def test_what_layers_in_float_compute_in_is_the_recipe_s_or_refused(
        self, tmp_path: Path, precision: str
    ) -> None:
        """Other kinds of CPU have other refusals: the features of this request are those of AVX2."""
        plan = self._plan_or_refusal(tmp_path, "float_as", float_as=precision)
        if plan is not None:
            assert plan.float_as == precision
            recipe = self._recipe(float_as=precision, keep_float=1.0)
            artifact = self._export(tmp_path, recipe=recipe)
            if self.make_backend().on_host(artifact) == artifact:
                assert precision in {layer.precision for layer in artifact.audit.layers}

    @pytest.mark.parametrize(
        ("key", "value"), [("equalize", True), ("smooth", 0.5), ("rounding", "adaptive"), ("affine", True)]
    )
    def test_the_network_is_repaired_as_the_recipe_says_or_that_is_refused(
        self, tmp_path: Path, key: str, value: Any
    ) -> None:
        plan = self._plan_or_refusal(tmp_path, key, **{key: value})
        if plan is not None:
            assert len(plan.repairs) == 1
            assert plan.repairs == plan.summary().repairs
            if key != "smooth":  # the network has no normalization
                assert self._plan(tmp_path).network != plan.network

    def test_ranges_in_the_artifact_are_those_of_the_plan(self, tmp_path: Path) -> None:
        recipe = self._recipe()
        plan = self.make_backend().plan(self._request(tmp_path, recipe=recipe))
        compared = 0
        for facts in self._tensors(self._export(tmp_path, recipe=recipe)):
            name = next((name for name in facts.names if name in plan.ranges), "")
            if name and facts.grid is not None:
                grid = plan.grid(name)
                assert facts.grid.low == pytest.approx((grid.low - grid.zero_point) * grid.scale, rel=1e-4)
                assert facts.grid.high == pytest.approx((grid.high - grid.zero_point) * grid.scale, rel=1e-4)
                compared += 1
        assert compared >= 4

    def test_tensors_that_share_a_scale_in_the_plan_share_it_in_the_artifact(self, tmp_path: Path) -> None:
        recipe = self._recipe()
        plan = self.make_backend().plan(self._request(tmp_path, recipe=recipe))
        grids = {
            name: facts.grid
            for facts in self._tensors(self._export(tmp_path, recipe=recipe))
            for name in facts.names
            if facts.grid is not None
        }
        for group in plan.shared:
            assert len({plan.ranges[name] for name in group}) == 1
            assert len({grids[name] for name in group if name in grids}) <= 1

    def test_a_plan_is_plain_data_and_the_same_again(self, tmp_path: Path) -> None:
        first, second = (self._plan(tmp_path, keep_float=1.0) for _ in range(2))
        assert decode_plan(encode_plan(first)) == first == second
        assert first.digest == second.digest
        assert first.network == sha256_file(Path(self._variant(tmp_path).onnx_path))

    def test_the_artifact_tells_what_was_planned(self, tmp_path: Path) -> None:
        recipe = self._recipe(keep_float=1.0)
        plan = self.make_backend().plan(self._request(tmp_path, recipe=recipe))
        assert self._export(tmp_path, recipe=recipe).quantization == plan.summary()
        assert self._export(tmp_path, "fp32").quantization is None

    def test_what_took_long_is_measured_once_for_all_recipes_that_ask_alike(self, tmp_path: Path) -> None:
        memo = CountingMemo()
        for count in (1.0, 2.0, 1.0):
            request = self._request(tmp_path, recipe=self._recipe(keep_float=count))
            self.make_backend().export(replace(request, memo=memo))
        assert memo.made["plan"] == 2
        assert memo.made["sensitivity"] == 1
        assert memo.made["biases"] <= 1
        ranges = memo.made["ranges"]
        request = self._request(tmp_path, recipe=self._recipe(keep_float=0.5, bias_correction="none"))
        self.make_backend().plan(replace(request, memo=memo))
        assert memo.made["ranges"] == ranges

    def test_a_plan_without_calibration_is_a_stage_error(self, tmp_path: Path) -> None:
        for missing in ({"calibration": None}, {"recipe": None}):
            with pytest.raises(StageError, match="needs a recipe and calibration samples"):
                self.make_backend().plan(replace(self._request(tmp_path), **missing))  # type: ignore[arg-type]

    def _recipe(self, **changes: Any) -> Recipe:
        """The backend's recipe with ranges that are ours."""
        return msgspec.structs.replace(find_recipe(self.recipe), **{"observer": "minmax", **changes})

    def _plan(self, tmp_path: Path, **changes: Any) -> QuantPlan:
        return self.make_backend().plan(self._request(tmp_path, recipe=self._recipe(**changes)))

    def _plan_or_refusal(self, tmp_path: Path, key: str, **changes: Any) -> QuantPlan | None:
        """None where the backend refuses the key; the error then names it, and so does an export's."""
        try:
            return self._plan(tmp_path, **changes)
        except StageError as error:
            refusal = error
        assert key in refusal.cause
        assert refusal.remedy
        with pytest.raises(StageError, match=key):
            self._export(tmp_path, recipe=self._recipe(**changes))
        return None

    def _files(self, tmp_path: Path, **changes: Any) -> set[str]:
        return {file.sha256 for file in self._export(tmp_path, recipe=self._recipe(**changes)).files}

    def _tensors(self, artifact: Artifact) -> tuple[TensorFacts, ...]:
        with open_reader(artifact) as reader:
            return reader.tensors

    def _float_layers(self, artifact: Artifact) -> int:
        """Layers whose weights are float in the artifact; an activation may be shown with those of its layer."""
        shown = {facts.name: facts for facts in self._tensors(artifact)}
        return sum(
            facts.weights is not None
            and facts.weights.grid == ""
            and all(shown[name].weights != facts.weights for name in facts.inputs)
            for facts in shown.values()
        )
