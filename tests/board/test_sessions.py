"""Sessions of the runner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.board.runner import open_session, random_feeds
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


def test_random_feeds_of_integer_inputs_are_whole() -> None:
    signature = {"inputs": [{"name": "ids", "dtype": "int64", "shape": [1, 7]}]}
    feeds = random_feeds(signature, 0)
    assert feeds["ids"].dtype == np.int64
    assert set(feeds["ids"].ravel()) <= {0, 1}


# ---- LiteRT ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float .tflite of [1, 3, 8, 8] → [1, 5] without any description of its ports."""
    pytest.importorskip("litert_torch")
    from edgekit.backends.litert.convert import convert
    from edgekit.testing.onnx_networks import residual_network

    folder = tmp_path_factory.mktemp("tflite")
    convert(residual_network(folder / "net.onnx"), folder / "net.tflite")
    return folder / "net.tflite"


def test_images_of_a_tflite_file_are_given_with_channels_first(tflite: Path) -> None:
    with open_session("litert", str(tflite)) as session:
        assert session.signature["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": [1, 3, 8, 8]}]
        assert session.signature["outputs"] == [{"name": "scores", "dtype": "float32", "shape": [1, 5]}]


def test_a_tflite_file_gives_what_its_onnx_network_gives(tflite: Path) -> None:
    pytest.importorskip("onnxruntime")
    answers = []
    for runtime, path in (("litert", tflite), ("onnxruntime", tflite.with_suffix(".onnx"))):
        with open_session(runtime, str(path)) as session:
            answers.append(session.run(random_feeds(session.signature, 0))["scores"])
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)


def test_a_description_gives_a_tflite_file_other_names_and_layout(tflite: Path) -> None:
    said = {"inputs": '[{"name": "image", "channels_last": false}]', "outputs": '[{"name": "logits"}]'}
    with open_session("litert", str(tflite), said) as session:
        assert session.signature["inputs"][0] == {"name": "image", "dtype": "float32", "shape": [1, 8, 8, 3]}
        assert list(session.run({"image": np.ones((1, 8, 8, 3))})) == ["logits"]


def test_a_description_of_another_number_of_ports_is_refused(tflite: Path) -> None:
    with pytest.raises(ValueError, match="the file has 1 ports, its description 2"):
        open_session("litert", str(tflite), {"inputs": '[{"name": "a"}, {"name": "b"}]'})


def test_a_bound_tflite_session_steps_on_what_was_put_in_place(tflite: Path) -> None:
    with open_session("litert", str(tflite)) as session:
        feeds = random_feeds(session.signature, 0)
        wanted = session.run(feeds)["scores"]
        session.run({"pixels": np.zeros((1, 3, 8, 8))})
        session.bind(feeds)
        session.step()
        detail = session.raw.get_output_details()[0]
        np.testing.assert_array_equal(session.raw.get_tensor(detail["index"]), wanted)


def test_outputs_of_one_tflite_run_survive_the_next(tflite: Path) -> None:
    with open_session("litert", str(tflite)) as session:
        first = session.run({"pixels": np.ones((1, 3, 8, 8))})["scores"]
        kept = first.copy()
        session.run({"pixels": np.zeros((1, 3, 8, 8))})
        np.testing.assert_array_equal(first, kept)


def test_a_truncated_tflite_file_raises_what_says_so(tflite: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tflite.read_bytes()[:3000])
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        open_session("litert", str(path))
