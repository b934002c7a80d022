"""LiteRT's session: networks are seen as before their conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.board.session import random_feeds
from edgekit.board.sessions.opening import open_session


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


def test_opening_a_tflite_file_says_nothing(tflite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_session("litert", str(tflite)):
        pass
    assert capfd.readouterr() == ("", "")
