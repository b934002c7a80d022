"""Target rules: what becomes a candidate, and why the rest does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import UserError
from edgekit.hardware import Target, all_targets
from edgekit.plan import Plan, plan_candidates
from edgekit.runtimes import RUNTIMES
from edgekit.types import BackendName, Cost, LayerCost, Precision, Rejection, Signature, Variant

BOARDS = {target.name: target for target in all_targets(Path(__file__).parent)}
RECIPES: dict[BackendName, str] = {"onnxruntime": "int8-minmax", "openvino": "int8-nncf"}
BACKENDS: tuple[BackendName, ...] = tuple(RUNTIMES)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FEATURES = ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimddp")


def variant(name: str = "original", weight_bytes: int = 1000, activation_bytes: int = 1000) -> Variant:
    cost = Cost(
        macs=1, parameters=weight_bytes // 4, weight_bytes=weight_bytes, activation_bytes=activation_bytes
    )
    return Variant(name, "original", None, "", "net.onnx", "0" * 64, Signature((), ()), cost)


def plan(
    board: str,
    *variants: Variant,
    precisions: tuple[Precision, ...] | None = None,
    backends: tuple[BackendName, ...] = BACKENDS,
    features: frozenset[str] = frozenset(),
    recipe: str | None = None,
    unusable: dict[BackendName, str] | None = None,
) -> Plan:
    return plan_candidates(
        BOARDS[board],
        variants or (variant(),),
        precisions=precisions,
        backends=[name for name in backends if BOARDS[board].runtime(name)],
        features=features,
        unusable=unusable,
        default_recipes=dict.fromkeys(backends, recipe) if recipe else RECIPES,
    )


def ids(found: Plan) -> list[str]:
    return [candidate.id for candidate in found.candidates]


def rejection(found: Plan, what: str) -> Rejection:
    (one,) = [item for item in found.rejections if item.what == what]
    return one


def test_jetson_nano_makes_no_int8_candidate_and_says_why() -> None:
    found = plan("jetson-nano")
    assert ids(found) == ["original-trt-fp32", "original-trt-fp16"]
    refused = rejection(found, "tensorrt int8")
    assert "Maxwell (sm_53)" in refused.reason
    assert "FP16" in refused.instead
    assert "pruning" in refused.instead


def test_asking_jetson_nano_for_int8_alone_is_the_users_mistake() -> None:
    with pytest.raises(UserError) as caught:
        plan("jetson-nano", precisions=("int8",))
    message = str(caught.value)
    assert message.startswith("jetson-nano cannot run int8 here: ")
    assert "sm_53" in message
    assert "FP16" in message
    assert message.endswith("allowed: fp32, fp16")
    assert "\n" not in message


def test_asking_for_int8_and_fp16_there_makes_fp16_and_a_rejection() -> None:
    found = plan("jetson-nano", precisions=("int8", "fp16"))
    assert ids(found) == ["original-trt-fp16"]
    assert [item.what for item in found.rejections] == ["tensorrt int8"]


def test_a_cpu_without_bf16_gets_a_rejection_with_the_feature() -> None:
    found = plan("intel-cpu", features=frozenset({"avx512_vnni"}))
    assert "no avx512_bf16" in rejection(found, "openvino bf16").reason
    assert "original-ov-bf16" not in ids(found)


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_bf16_gets_a_candidate_of_its_own(feature: str) -> None:
    assert "original-ov-bf16" in ids(plan("intel-cpu", features=frozenset({feature})))


def test_each_backend_has_its_default_recipe_and_float_has_none() -> None:
    found = plan("intel-cpu-avx2")
    assert ids(found) == [
        "original-ov-fp32",
        "original-ov-fp16",
        "original-ov-int8-nncf",
        "original-ov-w8",
        "original-ort-fp32",
        "original-ort-int8-minmax",
        "original-litert-fp32",
        "original-litert-fp16",
        "original-litert-int8",
        "original-litert-int8-dynamic",
    ]
    recipes = ["", "", "int8-nncf", "", "", "int8-minmax", "", "", "", ""]
    assert [item.recipe for item in found.candidates] == recipes


def test_the_recipe_of_a_backend_is_that_of_all_its_int8_candidates() -> None:
    found = plan("intel-cpu-avx2", precisions=("int8",), recipe="mine")
    assert ids(found) == [f"original-{name}-int8-mine" for name in ("ov", "ort", "litert")]


@pytest.mark.parametrize(("share", "tried"), [(0.1, False), (0.9, True)])
def test_what_a_runtime_has_for_linear_layers_alone_is_tried_where_these_hold_the_weights(
    share: float, tried: bool
) -> None:
    layers = (
        LayerCost("fc", "MatMul", 1, round(1000 * share), 1),
        LayerCost("conv", "Conv", 1, 1000 - round(1000 * share), 1),
    )
    cost = Cost(macs=2, parameters=1000, weight_bytes=4000, activation_bytes=10, layers=layers)
    found = plan("generic-cpu", replace(variant(), cost=cost))
    wanted = {"original-ort-w8", "original-ort-w4", "original-ort-int8-dynamic", "original-ov-w4"}
    assert wanted & set(ids(found)) == (wanted if tried else set())
    assert {"original-ov-w8", "original-litert-int8-dynamic"} <= set(ids(found))
    if not tried:
        refused = rejection(found, "original-ort-w4")
        assert refused.reason == "ONNX Runtime has w4 for linear layers, which hold 10% of the weights"
        assert refused.instead == "int8"


def test_candidates_come_by_variant() -> None:
    found = plan("intel-cpu-avx2", variant("original"), variant("pruned-50"), precisions=("fp32",))
    assert ids(found) == [
        f"{network}-{name}-fp32" for network in ("original", "pruned-50") for name in ("ov", "ort", "litert")
    ]


@pytest.mark.parametrize("target", ["generic-cpu", "intel-cpu", "intel-cpu-avx2", "intel-n100"])
def test_every_x86_cpu_is_offered_litert_in_float_and_int8(target: str) -> None:
    found = ids(plan(target))
    assert {"original-litert-fp32", "original-litert-int8"} <= set(found)


def test_a_runtime_that_is_not_installed_is_rejected_with_its_pip_line() -> None:
    line = 'pip install "edgekit[openvino]"'
    found = plan("generic-cpu", backends=("onnxruntime",), unusable={"openvino": line})
    refused = rejection(found, "openvino int8")
    assert refused.reason == "openvino is not usable here"
    assert refused.instead == line
    assert {item.backend for item in found.candidates} == {"onnxruntime"}


def test_nothing_installed_at_all_is_an_error_with_the_pip_line() -> None:
    with pytest.raises(UserError, match="pip install X"):
        plan("jetson-nano", backends=(), unusable={"tensorrt": "pip install X"})


def test_a_runtime_that_was_not_asked_for_is_told() -> None:
    found = plan("generic-cpu", backends=("onnxruntime",))
    assert rejection(found, "openvino int8").reason == "openvino was left out by the request"


def test_a_runtime_that_the_board_does_not_have_is_told() -> None:
    found = plan_candidates(
        BOARDS["generic-cpu"],
        [variant()],
        precisions=None,
        backends=["onnxruntime", "tensorrt"],
        features=frozenset(),
    )
    assert rejection(found, "tensorrt").instead == "openvino or onnxruntime or litert"


def test_a_precision_that_another_runtime_has_is_pointed_to() -> None:
    found = plan("generic-cpu", precisions=("int8", "bf16"))
    assert "OpenVINO" in rejection(found, "onnxruntime bf16").instead


def test_a_network_larger_than_the_boards_share_is_rejected_by_candidate() -> None:
    found = plan("raspberry-pi-zero2w", variant(weight_bytes=2**29), precisions=("fp32", "int8"))
    assert "original-litert-fp32" in [item.what for item in found.rejections]
    assert "one model may use 256 MiB" in rejection(found, "original-litert-fp32").reason
    assert ids(found) == ["original-litert-int8", "original-ort-int8-minmax"]


def test_what_is_too_large_is_told_first_and_the_smallest_of_it_before_the_others() -> None:
    found = plan("raspberry-pi-zero2w", variant(weight_bytes=2**32))
    large = ["one model may use" in item.reason for item in found.rejections]
    assert large == sorted(large, reverse=True)
    assert not found.candidates
    needs = [int(item.reason.split()[2]) for item, one in zip(found.rejections, large, strict=True) if one]
    assert len(needs) > 2
    assert needs == sorted(needs)


def test_two_variants_of_one_name_are_a_bug() -> None:
    with pytest.raises(ValueError, match="two variants"):
        plan("generic-cpu", variant(), variant())


requests = st.fixed_dictionaries(
    {
        "board": st.sampled_from(sorted(BOARDS)),
        "variants": st.lists(st.text("ab-1", min_size=1, max_size=4), min_size=1, max_size=3, unique=True),
        "precisions": st.none() | st.lists(st.sampled_from(PRECISIONS), min_size=1, max_size=4).map(tuple),
        "backends": st.lists(st.sampled_from(BACKENDS), unique=True).map(tuple),
        "features": st.frozensets(st.sampled_from(FEATURES)),
        "recipe": st.none() | st.sampled_from(["int8-mse", "mine"]),
    }
)


def attempt(request: dict[str, Any]) -> tuple[Target, Plan | None]:
    arguments = dict(request)
    board, names = arguments.pop("board"), arguments.pop("variants")
    try:
        return BOARDS[board], plan(board, *map(variant, names), **arguments)
    except UserError:
        return BOARDS[board], None


@given(requests)
@settings(deadline=None)
def test_no_candidate_has_what_its_runtime_lacks(request: dict[str, Any]) -> None:
    board, found = attempt(request)
    for candidate in found.candidates if found else ():
        runtime = board.runtime(candidate.backend)
        assert runtime is not None
        assert candidate.precision in runtime.precisions
        assert candidate.precision not in board.rejected
        assert runtime.missing_feature(candidate.precision, request["features"]) is None
        assert candidate.backend in request["backends"]


@given(requests)
@settings(deadline=None)
def test_ids_are_unique(request: dict[str, Any]) -> None:
    _, found = attempt(request)
    names = ids(found) if found else []
    assert len(set(names)) == len(names)


@given(requests)
@settings(deadline=None)
def test_every_runtime_and_precision_is_a_candidate_or_a_rejection(request: dict[str, Any]) -> None:
    board, found = attempt(request)
    if found is None:
        return
    tried = {(item.backend, item.precision) for item in found.candidates}
    refused = [item.what for item in found.rejections]
    assert len(set(refused)) == len(refused)
    asked = request["precisions"] or board.precisions
    for runtime in board.runtimes:
        for precision in asked:
            # One that is for linear layers alone is refused by variant.
            names = {f"{name}-{RUNTIMES[runtime.name].short}-{precision}" for name in request["variants"]}
            is_refused = f"{runtime.name} {precision}" in refused or names <= set(refused)
            assert ((runtime.name, precision) in tried) != is_refused


@given(requests)
@settings(deadline=None)
def test_every_rejection_says_why(request: dict[str, Any]) -> None:
    _, found = attempt(request)
    assert all(item.what and item.reason for item in (found.rejections if found else ()))


def test_a_board_with_a_dla_gets_its_candidates_beside_those_of_the_gpu() -> None:
    found = plan("jetson-orin-nx", precisions=("fp32", "fp16", "int8"))
    assert ids(found) == [
        "original-trt-fp32",
        "original-trt-fp16",
        "original-trt-int8",
        "original-trt-dla-fp16",
        "original-trt-dla-int8",
    ]
    assert [one.device for one in found.candidates] == ["", "", "", "dla", "dla"]


def test_a_board_without_a_dla_gets_none() -> None:
    assert all(one.device == "" for one in plan("jetson-orin-nano").candidates)
