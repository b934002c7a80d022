"""Which runtime opens a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.backends.opening import artifact_signature, read_artifact, runtimes_that_open
from edgekit.errors import MissingExtraError, ModelError, UserError
from edgekit.files import sha256_file
from edgekit.runtimes import RUNTIMES
from edgekit.testing.fake_runtime import FAKE_RUNTIME
from tests.devices.models import PIXELS, write_classifier, write_ir


def empty(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("suffix", "runtimes"),
    [
        (".onnx", ("onnxruntime", "openvino")),
        (".xml", ("openvino",)),
        (".tflite", ("litert",)),
        (".pt", ()),
    ],
)
def test_a_file_is_opened_by_its_suffix(suffix: str, runtimes: tuple[str, ...]) -> None:
    assert runtimes_that_open(suffix) == runtimes


@pytest.mark.parametrize(
    ("name", "beside", "strange"),
    [
        ("net.xml", ["net.bin"], "net.data"),
        ("net.onnx", ["net.onnx.data", "net.onnx_data", "net.data"], "net.bin"),
        ("net.tflite", [], "net.data"),
    ],
)
def test_weights_beside_the_graph_belong_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, beside: list[str], strange: str
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda module: module)
    path = empty(tmp_path / name)
    for other in (*beside, strange):
        empty(tmp_path / other)
    artifact = read_artifact(path)
    assert [file.path for file in artifact.files] == [name, *beside]
    assert artifact.size_bytes == len(artifact.files)
    assert artifact.files[0].sha256 == sha256_file(path)


def test_the_runtime_may_be_chosen_among_those_that_take_the_file(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = write_classifier(tmp_path / "net.onnx")
    assert read_artifact(path).backend == "onnxruntime"
    chosen = read_artifact(path, "openvino", options={"A": "b"})
    assert (chosen.backend, chosen.options) == ("openvino", {"A": "b"})
    with pytest.raises(UserError, match=r"LiteRT cannot load net\.onnx; allowed: ONNX Runtime or OpenVINO"):
        read_artifact(path, "litert")


def test_what_no_runtime_opens_is_told_with_what_they_open(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"allowed: \.onnx, OpenVINO's \.xml, or \.tflite$"):
        read_artifact(empty(tmp_path / "net.h5"))
    with pytest.raises(ModelError, match=r"\.tflite, or a folder$"):
        read_artifact(empty(tmp_path / "net.h5"), or_else="a folder")


def test_what_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx does not exist"):
        read_artifact(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match=r"folder\.onnx is no file"):
        read_artifact(tmp_path / "folder.onnx")


def test_a_runtime_that_is_not_here_is_told_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(
        MissingExtraError, match=r'ai-edge-litert is not installed: pip install "edgekit\[tflite\]"'
    ):
        read_artifact(empty(tmp_path / "net.tflite"))


def test_a_signature_comes_from_the_file_or_from_its_runtime(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = write_classifier(tmp_path / "net.onnx")
    ir = write_ir(tmp_path / "net.xml", path)
    first, second = (artifact_signature(read_artifact(file)) for file in (path, ir))
    assert first == second
    assert first.inputs[0].shape == (1, 3, PIXELS, PIXELS)


def test_a_file_that_its_runtime_refuses_is_a_users_error(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(ModelError, match=r"OpenVINO cannot load .*net\.xml"):
        artifact_signature(read_artifact(empty(tmp_path / "net.xml")))


def test_a_row_of_the_table_is_all_that_a_kind_of_file_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from edgekit.runtimes import ModelFile

    row = replace(FAKE_RUNTIME, opens=(ModelFile(".npz", "an .npz of weights"),))
    monkeypatch.setitem(RUNTIMES, row.name, row)  # type: ignore[arg-type]
    assert read_artifact(empty(tmp_path / "net.npz")).backend == "fake-runtime"
    with pytest.raises(ModelError, match=r"or an \.npz of weights"):
        read_artifact(empty(tmp_path / "net.h5"))
