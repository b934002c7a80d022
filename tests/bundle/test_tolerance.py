"""How far outputs may be from the golden ones: by what the precision costs this very network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest, Session
from edgekit.board import entries
from edgekit.board.manifest import LARGEST_TOLERANCE, read_manifest
from edgekit.board.tensorrt.engine import tolerance_beside
from edgekit.board.tensorrt.library import EngineError
from edgekit.bundle import Golden, verify_bundle, write_bundle
from edgekit.bundle.tolerance import golden_tolerance
from edgekit.hardware import find_target
from edgekit.precisions import PRECISIONS
from edgekit.testing.onnx_networks import as_variant
from edgekit.types import Artifact, Candidate, Precision, Variant
from tests.bundles import artifact_of, bundle_of, bundle_parts

pytest.importorskip("onnxruntime")

TENSORRT = get_backend("tensorrt")
GOLDEN = (np.array([[1.0, -4.0], [2.0, 0.5]], np.float32),)
FP16 = PRECISIONS["fp16"].golden_tolerance


def test_where_the_precision_costs_little_its_own_tolerance_holds() -> None:
    assert golden_tolerance("fp16", GOLDEN, (GOLDEN[0] + np.float32(0.001),)) == FP16
    assert golden_tolerance("fp16", GOLDEN) == FP16


def test_where_it_costs_more_three_times_that_is_allowed() -> None:
    assert golden_tolerance("fp16", GOLDEN, (GOLDEN[0] + np.float32(0.5),)) == pytest.approx(3 * 0.125)


@pytest.mark.parametrize("precision", ["fp32", "w8"])
def test_what_is_computed_in_float32_is_never_given_more(precision: Precision) -> None:
    row = PRECISIONS[precision].golden_tolerance
    assert golden_tolerance(precision, GOLDEN, (GOLDEN[0] + np.float32(1.0),)) == row


@pytest.mark.parametrize("floats", [np.full((2, 2), np.nan, np.float32), np.zeros((2, 3), np.float32)])
def test_float_outputs_that_say_nothing_widen_nothing(floats: NDArray[np.float32]) -> None:
    assert golden_tolerance("fp16", GOLDEN, (floats,)) == FP16


@given(st.sampled_from(["fp16", "bf16", "int8", "int8-dynamic"]), st.floats(0, 1e6), st.floats(0, 1e6))
def test_it_grows_with_the_distance_from_float_up_to_the_largest(
    precision: Precision, near: float, far: float
) -> None:
    near, far = sorted((near, far))
    tolerances = [golden_tolerance(precision, GOLDEN, (GOLDEN[0] + np.float32(by),)) for by in (near, far)]
    assert PRECISIONS[precision].golden_tolerance <= tolerances[0] <= tolerances[1] <= LARGEST_TOLERANCE


# ---- a small detector in float16 ---------------------------------------------------------------------------


def detector(path: Path, seed: int) -> Path:
    """Boxes of large values and scores in one output, made of features up to some 4,000: float16 has steps of 2 there,
    and the network takes the difference of two of them."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.normal(0, 300, (8, 3, 3, 3)),
        "w2": random.normal(0, 0.1, (10, 8, 1, 1)),
    }
    weights["w2"][:, 4:] = -weights["w2"][:, :4] * 1.01
    weights["w1"][4:] = weights["w1"][:4] * 1.001
    nodes = [
        helper.make_node("Conv", ["pixels", "w1"], ["f"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["f"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w2"], ["head"], name="head"),
        helper.make_node("Split", ["head", "parts"], ["box", "raw"], name="split", axis=1),
        helper.make_node("Sigmoid", ["raw"], ["scores"], name="sigmoid"),
        helper.make_node("Concat", ["box", "scores"], ["found"], name="concat", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, 10, 8, 8])],
        [
            *(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()),
            numpy_helper.from_array(np.array([4, 6], np.int64), "parts"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


IMAGES = np.random.default_rng(5).normal(size=(4, 3, 8, 8)).astype(np.float32)


def exported(variant: Variant, folder: Path, precision: Precision, target: str) -> Artifact:
    folder.mkdir()
    candidate = Candidate("original-trt-fp16", "original", "tensorrt", precision)
    return TENSORRT.export(ExportRequest(variant, candidate, find_target(target), frozenset(), folder))


def answers(artifact: Artifact) -> NDArray[np.float32]:
    host = TENSORRT.on_host(artifact)
    session: Session
    with get_backend(host.backend).open(host) as session:
        return np.concatenate([session.run({"pixels": image[None]})["found"] for image in IMAGES])


def detector_bundle(tmp_path: Path, target: str, *, floats: bool = True, **changes: Any) -> Path:
    """The bundle of the fp16 candidate. `changes`: of what `write_bundle` takes."""
    variant = as_variant(detector(tmp_path / "net.onnx", seed=0))
    artifact = exported(variant, tmp_path / "half", "fp16", target)
    right = answers(exported(variant, tmp_path / "float", "fp32", target)) if floats else None
    parts = {
        **bundle_parts(artifact),
        "variant": variant,
        "candidate": Candidate("original-trt-fp16", "original", "tensorrt", "fp16"),
        "golden": Golden((IMAGES,), (answers(artifact),), None if right is None else (right,)),
    }
    write_bundle(tmp_path / "bundle", **{**parts, **changes})
    return tmp_path / "bundle"


def test_a_detector_in_float16_that_a_board_may_compute_in_float32_matches(tmp_path: Path) -> None:
    checked = verify_bundle(detector_bundle(tmp_path, "jetson-orin-nano"))
    assert checked.problems == ()
    assert checked.difference is not None
    assert FP16 < checked.difference < checked.tolerance < LARGEST_TOLERANCE


def test_by_the_precision_s_tolerance_alone_it_was_refused(tmp_path: Path) -> None:
    (problem,) = verify_bundle(detector_bundle(tmp_path, "jetson-orin-nano", floats=False)).problems
    assert "allowed 0.01" in problem


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_network_in_its_place_is_still_told(tmp_path: Path, seed: int) -> None:
    """Settling holds what a board answers against the same golden outputs."""
    bundle = detector_bundle(tmp_path, "jetson-orin-nano")
    manifest = read_manifest(str(bundle))
    other = exported(
        as_variant(detector(tmp_path / "other.onnx", seed)), tmp_path / "other", "fp16", "jetson-orin-nano"
    )
    right = exported(as_variant(tmp_path / "net.onnx"), tmp_path / "again", "fp32", "jetson-orin-nano")
    found = {}
    for name, artifact in (("other", other), ("right", right)):
        np.save(tmp_path / f"{name}.npy", answers(artifact))
        found[name] = entries.off_golden(str(bundle), manifest, [str(tmp_path / f"{name}.npy")])
    assert found["right"][0] <= found["right"][1] == found["other"][1] < found["other"][0]


def test_scores_that_died_beside_boxes_are_told_where_they_are_an_output_of_their_own(tmp_path: Path) -> None:
    boxes, scores = np.array([[600.0, 4.0]], np.float32), np.array([[0.3, 0.001]], np.float32)
    tolerance = golden_tolerance(
        "fp16", (boxes, scores), (boxes + np.float32(6.0), scores + np.float32(0.003))
    )
    assert tolerance == pytest.approx(0.03, rel=1e-3)
    arrays = {"boxes": boxes, "scores": np.zeros_like(scores)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "golden.npz", in0=boxes, out0=boxes, out1=scores)
    manifest = {"signature": {"outputs": ["boxes", "scores"]}, "golden": {"tolerance": tolerance}}
    off, allowed = entries.off_golden(
        str(tmp_path), manifest, [str(tmp_path / f"{name}.npy") for name in arrays]
    )
    assert off == 1.0 > allowed


# ---- the engine's own test ---------------------------------------------------------------------------------


def test_an_engine_is_held_to_the_bundle_s_tolerance_not_to_its_recipe_s(tmp_path: Path) -> None:
    bundle = detector_bundle(tmp_path, "jetson-orin-nano")
    stored = read_manifest(str(bundle))["golden"]["tolerance"]
    assert tolerance_beside(str(bundle / "golden.npz"), FP16) == stored > FP16


def test_golden_outputs_outside_of_a_bundle_have_the_recipe_s(tmp_path: Path) -> None:
    assert tolerance_beside(str(tmp_path / "golden.npz"), 0.25) == 0.25
    assert tolerance_beside("", 0.25) == 0.25


def test_a_bundle_that_was_changed_gives_no_tolerance(tmp_path: Path) -> None:
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace('"tolerance": 0.001', '"tolerance": 0.4'))
    with pytest.raises(EngineError, match="the golden outputs cannot be used"):
        tolerance_beside(str(bundle / "golden.npz"), 0.25)


def test_float_outputs_that_do_not_fit_are_the_caller_s_mistake(tmp_path: Path) -> None:
    parts = bundle_parts(artifact_of("onnxruntime", tmp_path / "artifact"))
    with pytest.raises(ValueError, match="0 float outputs, but 1 golden outputs"):
        write_bundle(tmp_path / "bundle", **{**parts, "golden": replace(parts["golden"], floats=())})
