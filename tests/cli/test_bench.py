"""`edgekit bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.cli import main
from tests.devices.models import write_classifier, write_ir

QUICK = ["--seconds", "0.2"]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def bench_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = call(capsys, *arguments, *QUICK, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def write_data(path: Path, *, labelled: bool = True, shape: tuple[int, ...] = (8, 8, 3)) -> Path:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, *shape), dtype=np.uint8)
    np.savez(path, x=x, **({"y": np.arange(40) % 4} if labelled else {}))
    return path


def test_an_onnx_file_is_measured_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench_json(capsys, write_classifier(tmp_path / "net.onnx"))
    assert (found["runtime"], found["origin"]) == ("onnxruntime", "host")
    for name in ("p50", "p90", "p99"):
        assert 0 < found["latency_ms"][name]["low"] <= found["latency_ms"][name]["value"]
    assert found["load_ms"] > 0
    assert found["peak_memory_bytes"] > found["size_bytes"] > 0
    assert found["environment"]["threads"] == 1
    assert found["accuracy"] is None
    assert "inputs are random: input [1, 3, 8, 8]" in found["notes"]


def test_an_openvino_model_is_measured_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    path = write_ir(tmp_path / "net.xml", write_classifier(tmp_path / "net.onnx"))
    data = write_data(tmp_path / "d.npz")
    found = bench_json(capsys, path, "--data", data, "--input-layout", "nhwc", "--scale", "255")
    assert found["runtime"] == "openvino"
    assert found["runtime_facts"]["INFERENCE_PRECISION_HINT"]
    assert found["accuracy"]["metric"] == "top1"
    assert found["accuracy"]["samples"] == 40
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"]


def test_dynamic_dimensions_are_set_to_one_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bench_json(capsys, write_classifier(tmp_path / "net.onnx", batch="n"))
    assert "dynamic dimensions of input were set to 1" in found["notes"]


def test_the_table_fits_eighty_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _err = call(capsys, write_classifier(tmp_path / "net.onnx"), *QUICK)
    assert code == 0
    assert "latency p90" in out
    assert "origin host" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def bad(tmp_path: Path, kind: str) -> list[object]:
    net = write_classifier(tmp_path / "net.onnx")
    if kind == "missing":
        return [tmp_path / "absent.onnx"]
    if kind == "truncated":
        net.write_bytes(net.read_bytes()[:300])
        return [net]
    if kind == "suffix":
        return [tmp_path / "net.pt"]
    if kind == "layout":
        return [net, "--data", write_data(tmp_path / "d.npz"), "--input-layout", "as-is"]
    if kind == "metric":
        return [net, "--data", write_data(tmp_path / "d.npz"), "--input-layout", "nhwc", "--metric", "top3"]
    if kind == "cpus":
        return [net, "--cpus", "9999"]
    return [net, "--seconds", "long"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "absent.onnx does not exist"),
        ("truncated", "cannot load net.onnx"),
        ("suffix", "allowed: .onnx, OpenVINO's .xml, or .tflite"),
        ("layout", "--input-layout"),
        ("metric", "metric 'top3'; allowed: top1, top5"),
        ("cpus", "--cpus '9999'"),
        ("seconds", "'long' is not a duration"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, said: str
) -> None:
    code, out, err = call(capsys, *bad(tmp_path, kind))
    assert code == 2
    assert said in err
    assert err.startswith("edgekit: ")
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_an_ir_without_its_weights_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    path = write_ir(tmp_path / "net.xml", write_classifier(tmp_path / "net.onnx"))
    path.with_suffix(".bin").unlink()
    code, _out, err = call(capsys, path)
    assert code == 2
    assert "openvino cannot load net.xml" in err
    assert len(err.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("litert_torch")
    from edgekit.backends.litert.convert import convert

    folder = tmp_path_factory.mktemp("tflite")
    convert(write_classifier(folder / "net.onnx"), folder / "net.tflite")
    return folder / "net.tflite"


def test_a_tflite_file_is_measured_and_scored(
    tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "d.npz")
    found = bench_json(capsys, tflite, "--data", data, "--input-layout", "nhwc")
    assert found["runtime"] == "litert"
    assert found["latency_ms"]["p50"]["value"] > 0
    assert found["accuracy"]["samples"] > 0
    assert found["signature"]["inputs"][0]["shape"] == [1, 3, 8, 8]


def test_a_truncated_tflite_file_is_one_line(
    tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tflite.read_bytes()[:1000])
    code, _out, err = call(capsys, path)
    assert code == 2
    assert "litert cannot load cut.tflite" in err
    assert len(err.strip().splitlines()) == 1


def test_a_missing_litert_names_the_extra(
    tflite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _out, err = call(capsys, tflite)
    assert code == 2
    assert 'pip install "edgekit[tflite]"' in err


def test_given_shapes_fill_open_sizes_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_classifier(tmp_path / "net.onnx", batch="n")
    found = bench_json(capsys, path, "--input-shape", "input=1x3x8x8")
    assert "inputs are random: input [1, 3, 8, 8]" in found["notes"]
    assert not any("set to 1" in note for note in found["notes"])
    code, _out, err = call(capsys, path, "--input-shape", "1x4x8x8")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "dimension 1 of input 'input' is fixed to 3, not 4" in err


def test_data_that_cannot_be_used_are_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A measurement may wait minutes for another one."""

    def measured(*_: object, **__: object) -> None:
        raise AssertionError("it was run")

    monkeypatch.setattr("edgekit.devices.measuring.measure", measured)
    code, _, err = call(capsys, write_classifier(tmp_path / "net.onnx"), "--data", tmp_path / "gone")
    assert code == 2
    assert "is not a data source" in err
