"""Sessions of artifacts, by the runtimes themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.board.session import random_feeds
from edgekit.board.sessions.opening import open_session
from tests.devices.models import write_classifier, write_ir


@pytest.fixture(params=["onnxruntime", "openvino"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    pytest.importorskip(request.param)
    path = write_classifier(tmp_path / "net.onnx")
    return request.param, write_ir(tmp_path / "net.xml", path) if request.param == "openvino" else path


def test_the_signature_names_types_and_shapes(opened: tuple[str, Path]) -> None:
    with open_session(opened[0], str(opened[1])) as session:
        assert session.signature == {
            "inputs": [{"name": "input", "dtype": "float32", "shape": [1, 3, 8, 8]}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 4]}],
        }


def test_both_runtimes_give_the_same_outputs(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = write_classifier(tmp_path / "net.onnx")
    outputs = []
    for runtime in ("onnxruntime", "openvino"):
        with open_session(runtime, str(path)) as session:
            outputs.append(session.run(random_feeds(session.signature, 0))["scores"])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0.05, atol=0.05)  # bf16 on CPUs that have it


def test_outputs_of_one_run_survive_the_next(opened: tuple[str, Path]) -> None:
    with open_session(opened[0], str(opened[1])) as session:
        first = session.run({"input": np.ones((1, 3, 8, 8))})["scores"]
        kept = first.copy()
        session.run({"input": np.zeros((1, 3, 8, 8))})
        np.testing.assert_array_equal(first, kept)


def test_a_bound_session_steps_and_answers_as_before(opened: tuple[str, Path]) -> None:
    with open_session(opened[0], str(opened[1])) as session:
        feeds = random_feeds(session.signature, 0)
        before = session.run(feeds)
        session.bind(feeds)
        session.step()
        session.step()
        after = session.run(feeds)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_options_reach_the_runtime(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = write_classifier(tmp_path / "net.onnx")
    with open_session("openvino", str(path), {"INFERENCE_PRECISION_HINT": "f32"}) as session:
        assert session.facts["INFERENCE_PRECISION_HINT"] == "float32"
        assert session.facts["INFERENCE_NUM_THREADS"] == "1"


def test_feeds_of_other_names_are_refused_with_both_names(opened: tuple[str, Path]) -> None:
    with (
        open_session(opened[0], str(opened[1])) as session,
        pytest.raises(ValueError, match=r"\['x'\].*\['input'\]"),
    ):
        session.run({"x": np.ones((1, 3, 8, 8))})


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="onnxruntime, openvino"):
        open_session("abacus", "net.onnx")


def test_random_feeds_set_dynamic_dimensions_to_one(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "net.onnx", batch="n")
    with open_session("onnxruntime", str(path)) as session:
        assert session.signature["inputs"][0]["shape"] == [None, 3, 8, 8]
        assert random_feeds(session.signature, 0)["input"].shape == (1, 3, 8, 8)
