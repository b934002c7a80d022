"""`edgekit lint`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.cli import main
from edgekit.testing.onnx_networks import residual_network
from tests.backends.graphs import conv, graph, node, weights


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as ended:
        main(["lint", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def found(text: str, runtime: str) -> dict[str, Any]:
    """The finding of one runtime in the JSON."""
    one: dict[str, Any] = next(each for each in json.loads(text)["findings"] if each["runtime"] == runtime)
    return one


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return residual_network(tmp_path / "network.onnx")


def refused(tmp_path: Path) -> Path:
    """A network with an operation that TensorRT 8.2 does not have."""
    path = tmp_path / "refused.onnx"
    onnx.save(graph([node("NonZero", ["x"], ["y"], name="positions")], {}), str(path))
    return path


@pytest.mark.parametrize(
    "target", ["jetson-nano", "rtx-ada", pytest.param("generic-cpu", marks=pytest.mark.slow)]
)
def test_a_plain_network_ends_with_0(network: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(str(network), "--target", target, capsys=capsys)
    assert code == 0
    assert "0 errors" in out


def test_what_the_board_cannot_take_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(str(refused(tmp_path)), "--target", "jetson-nano", capsys=capsys)
    assert code == 3
    assert "positions" in out
    assert "NonZero" in out


def test_the_table_fits_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(str(refused(tmp_path)), "--target", "jetson-orin-nx", capsys=capsys)
    assert max(len(line) for line in out.splitlines()) <= 80


def test_json_has_node_reason_remedy_and_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(str(refused(tmp_path)), "--target", "jetson-nano", "--json", capsys=capsys)
    finding = found(out, "tensorrt")
    errors = [issue for issue in finding["issues"] if issue["severity"] == "error"]
    assert [issue["node"] for issue in errors] == ["positions"]
    assert errors[0]["reason"]
    assert errors[0]["remedy"]
    assert "rules" in finding["check"]
    assert json.loads(out)["errors"] == 1


@pytest.mark.slow
def test_every_runtime_of_the_board_is_asked(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(str(network), "--target", "generic-cpu", "--json", capsys=capsys)
    names = {each["runtime"] for each in json.loads(out)["findings"]}
    assert {"onnxruntime", "openvino"} <= names


@pytest.mark.parametrize("target", ["jetson-nano", "jetson-tx2"])
def test_int8_on_a_board_without_it_says_what_to_do_instead(
    network: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(str(network), "--target", target, "--precision", "int8", "--json", capsys=capsys)
    (issue,) = found(out, "")["issues"]
    assert code == 3
    assert "FP16" in issue["remedy"]


def dynamic(tmp_path: Path, shape: tuple[int | str, ...] = ("batch", 4, "height", 8)) -> Path:
    path = tmp_path / "dynamic.onnx"
    onnx.save(graph([conv("x", "y")], {"w": weights(4, 4, 3, 3)}, shape=shape), str(path))
    return path


@pytest.mark.parametrize("target", ["jetson-orin-nano", "intel-igpu"])
def test_an_open_size_is_the_users_mistake_whatever_the_runtime(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(str(dynamic(tmp_path)), "--target", target, capsys=capsys)
    assert code == 2
    assert "dimension 2 of input 'x' is dynamic (height)" in err
    assert "--input-shape x=1x4xHx8" in err


@pytest.mark.parametrize("shape", ["x=1x4x16x8", "1,4,16,8"])
def test_an_open_size_is_fixed_by_the_option(
    tmp_path: Path, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(dynamic(tmp_path))
    code, out, _ = run(path, "--target", "rtx-ada", "--input-shape", shape, "--json", capsys=capsys)
    assert code == 0
    assert [issue["reason"] for issue in found(out, "")["issues"]] == [
        "dimension 0 of input x is dynamic; it becomes 1",
        "dimension 2 of input x is dynamic; it becomes 16",
    ]


@pytest.mark.parametrize("target", ["rtx-ampere", "jetson-orin-nano", "raspberry-pi-4"])
def test_a_dynamic_batch_becomes_1_and_is_told(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dynamic(tmp_path, ("N", 4, 8, 8))
    code, out, _ = run(str(path), "--target", target, "--json", capsys=capsys)
    assert code == 0
    assert "dimension 0 of input x is dynamic; it becomes 1" in out


def test_a_network_too_large_for_the_board_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.onnx"
    shape = np.array([1, 4, 16384, 16384], np.int64)  # 4 GiB of activations
    onnx.save(graph([node("Expand", ["x", "s"], ["y"])], {"s": shape}, shape=(1, 4, 1, 1)), str(path))
    code, out, _ = run(str(path), "--target", "jetson-nano", "--json", capsys=capsys)
    assert code == 3
    assert any("one model may use" in issue["reason"] for issue in found(out, "")["issues"])


def test_a_factory_is_exported_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "from edgekit.testing.networks import TinyConvNet\n\n\ndef make():\n    return TinyConvNet()\n"
    )
    code, out, _ = run(
        f"{source}:make", "--input-shape", "1,1,8,8", "--target", "jetson-nano", "--json", capsys=capsys
    )
    assert code == 0
    assert json.loads(out)["errors"] == 0


def test_the_part_of_the_weights_is_asked_for_and_told_where_it_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    source, weights = tmp_path / "net.py", tmp_path / "w.pt"
    source.write_text("import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(4, 3))\n")
    state = {"0.weight": torch.ones(3, 4), "0.bias": torch.ones(3)}
    both = {f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()}
    torch.save({"ema": both}, weights)
    asked = [f"{source}:make", "--weights", str(weights), "--input-shape", "1x4", "--target", "jetson-nano"]
    code, _, err = run(*asked, capsys=capsys)
    assert code == 2
    assert "--weights-prefix student. or --weights-prefix teacher." in err
    code, _, err = run(*asked, "--weights-prefix", "pupil", capsys=capsys)
    assert (code, "allowed: student., teacher." in err) == (2, True)
    code, _, err = run(*asked, "--weights-prefix", "student", "--weights-key", "ema", capsys=capsys)
    assert code == 0, err


def test_a_factory_without_a_shape_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "net.py"
    source.write_text("from edgekit.testing.networks import TinyConvNet as make\n")
    code, _, err = run(f"{source}:make", "--target", "jetson-nano", capsys=capsys)
    assert code == 2
    assert "--input-shape" in err


def test_a_truncated_file_is_the_users_mistake(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network.write_bytes(network.read_bytes()[:100])
    code, _, err = run(str(network), "--target", "jetson-nano", capsys=capsys)
    assert code == 2
    assert "not a readable ONNX file" in err


def test_an_unknown_board_is_the_users_mistake(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(str(network), "--target", "jetson-nanoo", capsys=capsys)
    assert code == 2
    assert "jetson-nano" in err


def test_a_compiler_that_takes_the_network_is_named(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx")
    _, out, _ = run(str(network), "--target", "rtx-ampere", "--json", capsys=capsys)
    assert "compiled for sm_86 by TensorRT-RTX" in found(out, "tensorrt")["check"]
