"""`edgekit compare`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli import main
from edgekit.testing.onnx_networks import residual_network, samples
from tests.compare.artifacts import broken
from tests.devices.models import write_classifier

pytest.importorskip("onnxruntime")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return residual_network(tmp_path / "good.onnx")


@pytest.fixture
def bad(good: Path) -> Path:
    return broken(good, good.with_name("bad.onnx"), "w2", 5, 6.0)


def test_where_two_networks_part_is_told_first_with_what_to_try(
    good: Path, bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    np.savez(tmp_path / "d.npz", x=samples(40), y=np.arange(40) % 5)
    code, out, err = call(capsys, good, bad, "--data", tmp_path / "d.npz", "--samples", "20")
    assert (code, err) == (0, "")
    assert "c2 (layer inner) is where they part" in out
    assert "weights differ in 1 of 8 output channels" in " ".join(out.split())
    assert out.index("is where they part") < out.index("Worst of") < out.index("output scores")
    assert "top-1: A" in out


def test_the_table_fits_eighty_columns(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _code, out, _err = call(capsys, good, bad)
    told = [line for line in out.splitlines() if not line.startswith(("A  ", "B  "))]
    assert max(len(line.rstrip()) for line in told) <= 80
    assert "…" not in out.split("Worst of")[1].splitlines()[1]


def test_json_holds_every_layer_in_graph_order(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _err = call(capsys, good, bad, "--samples", "4", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["parts_at"] == "c2"
    assert [layer["name"] for layer in found["layers"]][:3] == ["pixels", "c1", "r1"]
    assert found["outputs"][0]["agreement"]["value"] <= 1.0


def test_equal_networks_part_nowhere(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _err = call(capsys, good, good, "--samples", "4")
    assert code == 0
    assert "They do not part anywhere" in out


def bad_arguments(tmp_path: Path, good: Path, kind: str) -> list[object]:
    if kind == "suffix":
        (tmp_path / "net.h5").write_bytes(b"")
        return [good, tmp_path / "net.h5"]
    if kind == "missing":
        return [good, tmp_path / "absent.tflite"]
    if kind == "folder":
        (tmp_path / "empty").mkdir()
        return [good, tmp_path / "empty"]
    if kind == "truncated":
        half = tmp_path / "half.onnx"
        half.write_bytes(good.read_bytes()[:900])
        return [good, half]
    if kind == "other":
        return [good, write_classifier(tmp_path / "other.onnx")]
    np.savez(tmp_path / "d.npz", x=np.zeros((40, 3, 9, 9), np.float32))
    return [good, good, "--data", tmp_path / "d.npz"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("suffix", "allowed: .onnx, OpenVINO's .xml, .tflite, or a bundle's folder"),
        ("missing", "absent.tflite does not exist"),
        ("folder", "is not a bundle"),
        ("truncated", "half.onnx cannot be opened"),
        ("other", "is not the same network"),
        ("data", "samples of shape [3, 9, 9]"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, good: Path, capsys: pytest.CaptureFixture[str], kind: str, said: str
) -> None:
    code, out, err = call(capsys, *bad_arguments(tmp_path, good, kind))
    assert code == 2
    assert said in err
    assert err.startswith("edgekit: ")
    assert len(err.strip().splitlines()) == 1
    assert not out


def test_a_board_whose_outputs_are_others_is_told_in_one_line(
    good: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.devices import table

    fake = ("edgekit.testing.fake_board", "FakeBoardDevice")
    monkeypatch.setattr(table, "DEVICES", {**table.DEVICES, "fake-board": fake})
    code, out, err = call(capsys, good, good, "--samples", "3", "--device", "fake-board")
    assert (code, out) == (2, "")
    assert "gives no 'c1' on fake-board (emulated); its runtime there reads the file differently" in err
    assert err.count("\n") == 1
