"""How a plan is made: the same for every runtime, with what a runtime says of a network as its only difference."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgekit.backends.litert.plan import LiteRtPlanner
from edgekit.backends.onnxruntime.plan import OnnxRuntimePlanner
from edgekit.errors import StageError
from edgekit.graph import CalibrationData
from edgekit.hardware import find_target
from edgekit.quantize import QuantPlan, find_recipe, make_plan
from edgekit.quantize.measured import measure
from edgekit.testing.memo import CountingMemo
from edgekit.testing.onnx_networks import residual_network, samples

pytest.importorskip("onnxruntime")

DATA = CalibrationData(lambda: iter([(samples(40),), (samples(24, 4),)]), 64, "digest")
ARM = frozenset({"asimd", "asimddp"})
VNNI = frozenset({"avx2", "fma", "avx_vnni"})


def planner(
    network: Path, target: str = "generic-cpu", features: frozenset[str] = VNNI
) -> OnnxRuntimePlanner:
    return OnnxRuntimePlanner(network, find_target(target).int8_rule(features), {"onnxruntime": "1"})


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return residual_network(tmp_path / "net.onnx")


def plan_of(memo: CountingMemo, network: Path, recipe: str, data: CalibrationData = DATA) -> QuantPlan:
    return make_plan(planner(network), network, find_recipe(recipe), data, memo=memo)


def test_a_second_asking_makes_nothing(network: Path) -> None:
    memo = CountingMemo()
    first = plan_of(memo, network, "int8-mixed")
    before = memo.made.copy()
    assert plan_of(memo, network, "int8-mixed") == first
    assert memo.made == before


def test_the_steps_of_a_ladder_share_ranges_ranking_and_biases(network: Path) -> None:
    memo = CountingMemo()
    for recipe in ("int8-mse", "int8-mixed", "int8-mixed-quarter"):
        plan_of(memo, network, recipe)
    assert memo.made == {"plan": 3, "ranges": 1, "sensitivity": 1, "biases": 1}


def test_observers_share_biases_that_look_at_weights_alone(network: Path) -> None:
    memo = CountingMemo()
    for recipe in ("int8-minmax", "int8-mse", "int8-percentile", "int8-entropy"):
        plan_of(memo, network, recipe)
    assert (memo.made["ranges"], memo.made["biases"]) == (4, 1)


def test_recipes_that_differ_in_name_alone_share_the_plan(network: Path) -> None:
    memo = CountingMemo()
    recipe = find_recipe("int8-mse")
    other = msgspec.structs.replace(recipe, name="mine", title="other", next="")
    first, second = (
        make_plan(planner(network), network, named, DATA, memo=memo) for named in (recipe, other)
    )
    assert memo.made["plan"] == 1
    assert (first.recipe, second.recipe) == ("int8-mse", "mine")
    assert first.ranges == second.ranges


@pytest.mark.parametrize(
    ("target", "features", "ranked"),
    [("generic-arm64", ARM, 1), ("generic-cpu", frozenset({"avx2", "fma"}), 2)],
)
def test_boards_of_other_signs_share_what_is_simulated_and_of_other_bits_do_not(
    network: Path, target: str, features: frozenset[str], ranked: int
) -> None:
    memo, recipe = CountingMemo(), find_recipe("int8-mixed")
    for where, having in (("generic-cpu", VNNI), (target, features)):
        make_plan(planner(network, where, having), network, recipe, DATA, memo=memo)
    assert memo.made["plan"] == 2
    assert memo.made["ranges"] == 1
    assert memo.made["sensitivity"] == memo.made["biases"] == ranked


def test_runtimes_that_measure_the_same_graph_share_what_they_measure(tmp_path: Path) -> None:
    """The same graph: without a mean over the image, which ONNX Runtime's preparation rewrites."""
    import onnx

    from edgekit.backends.onnxruntime.plan import prepared

    path, memo = tmp_path / "prepared.onnx", CountingMemo()
    onnx.save(prepared(residual_network(tmp_path / "net.onnx")), str(path))
    recipe = find_recipe("int8-mixed")
    here = measure(path, DATA, memo, 1)
    make_plan(planner(path), path, recipe, DATA, memo=memo)
    before = memo.made.copy()
    litert = LiteRtPlanner(path, tmp_path / "unused.tflite", (), {})
    here.ranking(recipe, litert.integers(recipe))
    here.biases(recipe, litert.integers(recipe))
    assert memo.made == before


def test_other_samples_are_another_plan(network: Path) -> None:
    memo = CountingMemo()
    plan_of(memo, network, "int8-mse")
    plan_of(memo, network, "int8-mse", CalibrationData(DATA.batches, 64, "other"))
    assert memo.made["plan"] == memo.made["ranges"] == 2


def test_a_layer_in_float_has_no_corrected_bias(network: Path) -> None:
    recipe = msgspec.structs.replace(find_recipe("int8-mse"), keep_float=1.0, keep_float_ops=("Gemm",))
    plan = make_plan(planner(network), network, recipe, DATA)
    floats = {layer.name for layer in plan.in_float}
    assert len(floats) == 2
    assert plan.biases.keys() == {"stem", "inner", "widen", "head"} - floats


def test_the_operation_of_the_users_network_counts_also_where_it_is_rewritten(network: Path) -> None:
    recipe = msgspec.structs.replace(find_recipe("int8-mse"), keep_float_ops=("ReduceMean",))
    assert make_plan(planner(network), network, recipe, DATA).kept("recipe") == ("mean",)


def test_what_a_runtime_refuses_is_said_before_any_work(network: Path) -> None:
    recipe = msgspec.structs.replace(find_recipe("int8-mse"), io="int8")
    memo = CountingMemo()
    with pytest.raises(StageError, match='io = "int8" is not for ONNX Runtime') as caught:
        make_plan(planner(network), network, recipe, DATA, memo=memo)
    assert caught.value.remedy == 'write io = "float"'
    assert not memo.made


@pytest.mark.parametrize("missing", ["recipe", "data"])
def test_without_recipe_or_samples_there_is_no_plan(network: Path, missing: str) -> None:
    recipe = None if missing == "recipe" else find_recipe("int8-mse")
    data = None if missing == "data" else DATA
    with pytest.raises(StageError, match="INT8 for ONNX Runtime needs a recipe and calibration samples"):
        make_plan(planner(network), network, recipe, data)
