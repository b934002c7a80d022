"""`profile`, `compare` and `targets probe` with a board over SSH, which is this machine behind a real sshd."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.cli import main
from edgekit.devices.known import add_device
from edgekit.testing.sshd import Sshd
from tests.compare.artifacts import broken

pytest.importorskip("onnxruntime")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Runs a command line; the board is `pi`. A program there without runtimes is `bare`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")
    address = sshd.address(tmp_path / "there")
    table: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "key": address.key,
        "python": address.python,
        "folder": str(tmp_path / "there"),
    }
    add_device("pi", table)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def network(tmp_path: Path) -> Path:
    from edgekit.testing.onnx_networks import residual_network

    return residual_network(tmp_path / "net.onnx")


def test_a_profile_from_the_board_names_layers_origin_and_machine(call: Call, network: Path) -> None:
    code, out, err = call("profile", network, "--device", "pi", "--runs", "3", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["device"]["name"] == "pi"
    assert told["device"]["origin"] == "device"
    assert told["device"]["machine"]
    assert told["no_layers"] == ""
    assert {"stem", "inner", "widen", "head"} <= {layer["name"] for layer in told["layers"]}
    assert told["totals"]["macs"] > 0
    assert told["whole_network_ms"]["value"] > 0


def test_an_unknown_device_is_one_line(call: Call, network: Path) -> None:
    for words in (("profile", network), ("compare", network, network), ("targets", "probe")):
        code, out, err = call(*words, "--device", "pie")
        assert (code, out) == (2, "")
        assert err == 'edgekit: no device "pie"; allowed: local, ssh://user@host, pi; did you mean pi?\n'


def test_what_the_board_has_no_runtime_for_is_one_line(
    call: Call, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.devices.ssh import SshDevice

    describe = SshDevice.describe
    monkeypatch.setattr(SshDevice, "describe", lambda self: {**describe(self), "runtimes": ["litert"]})
    for words in (("profile", network), ("compare", network, network)):
        code, out, err = call(*words, "--device", "pi")
        assert (code, out) == (2, "")
        assert "ONNX Runtime is not installed on pi; allowed: litert" in err
        assert "pip install onnxruntime" in err
        assert err.count("\n") == 1


def test_a_file_that_is_no_model_is_one_line(call: Call, tmp_path: Path, network: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    for words in (("profile", bad), ("compare", network, bad)):
        code, out, err = call(*words, "--device", "pi")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "bad.onnx" in err


def test_both_without_a_device_is_one_line(call: Call, network: Path) -> None:
    code, out, err = call("compare", network, network, "--both")
    assert (code, out) == (2, "")
    assert "--both says what runs on a device; give --device too" in err


def test_the_same_network_on_the_board_differs_nowhere(call: Call, network: Path) -> None:
    code, out, err = call("compare", network, network, "--device", "pi", "--samples", "4", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["b"]["where"] == "pi (device)"
    assert told["a"]["where"] == ""
    assert told["samples"] == 4
    assert len(told["layers"]) > 5
    assert told["outputs"][0]["difference"]["max_abs"] == 0
    assert all(layer["difference"]["max_abs"] == 0 for layer in told["layers"])


def test_where_they_part_is_seen_on_the_board_too(call: Call, network: Path, tmp_path: Path) -> None:
    bad = broken(network, tmp_path / "bad.onnx", "w2", 5, 6.0)
    here = json.loads(call("compare", network, bad, "--samples", "4", "--json")[1])
    for more in ((), ("--both",)):
        there = json.loads(
            call("compare", network, bad, "--samples", "4", "--json", "--device", "pi", *more)[1]
        )
        assert there["parts_at"] == here["parts_at"] == "c2"
        assert there["outputs"] == here["outputs"]
        assert there["a"]["where"] == ("pi (device)" if more else "")


def test_labelled_data_is_scored_from_the_boards_outputs(call: Call, network: Path, tmp_path: Path) -> None:
    from edgekit.testing.onnx_networks import samples

    np.savez(tmp_path / "d.npz", x=samples(40), y=np.arange(40) % 5)
    words = ("compare", network, network, "--data", tmp_path / "d.npz", "--samples", "12", "--json")
    here, there = (json.loads(call(*words, *more)[1]) for more in ((), ("--device", "pi")))
    assert there["accuracy"] == here["accuracy"]
    assert there["inputs"] == here["inputs"]


def test_probe_proposes_and_places_every_contradiction(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("targets", "probe", "--device", "pi", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["emulated"] is False
    assert told["free_disk_bytes"] > 0
    assert told["machine"]["memory_bytes"] > 0
    first = told["nearest"][0]
    assert first["name"] == told["proposed"]
    assert first["fits"]
    assert Path(first["file"]).name == f"{first['name']}.toml"
    code, out, err = call("targets", "probe", "--device", "pi")
    assert (code, err) == (0, "")
    assert f"It is {told['proposed']}: --target {told['proposed']}" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float .tflite of [1, 3, 8, 8] → [1, 5], its ONNX network beside it."""
    for package in ("litert_torch", "ai_edge_litert"):
        pytest.importorskip(package)
    from edgekit.backends.litert.convert import convert
    from edgekit.testing.onnx_networks import residual_network

    folder = tmp_path_factory.mktemp("tflite")
    convert(residual_network(folder / "net.onnx"), folder / "net.tflite")
    return folder / "net.tflite"


@pytest.mark.slow
def test_operations_of_a_tflite_file_are_timed_one_by_one_there(call: Call, tflite: Path) -> None:
    code, out, err = call("profile", tflite, "--device", "pi", "--runs", "3", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["device"]["origin"] == "device"
    assert "CONV_2D" in {layer["op"] for layer in told["layers"]}
    assert all(layer["time_ms"] > 0 for layer in told["layers"])


@pytest.mark.slow
def test_of_a_tflite_file_there_outputs_are_compared_and_it_is_said(call: Call, tflite: Path) -> None:
    words = ("compare", tflite.with_suffix(".onnx"), tflite, "--samples", "4", "--device", "pi")
    code, out, err = call(*words, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["layers"] == []
    assert told["outputs"][0]["difference"]["cosine"] > 0.99999
    assert any("pi (device) gave its outputs only" in note for note in told["notes"])
    text = call(*words)[1]
    assert "Outputs alone were compared: none is lost." in text
    assert "Worst of" not in text


def test_openvino_on_the_board_shows_tensors_and_layers(call: Call, network: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from tests.devices.models import write_ir

    path = write_ir(tmp_path / "net.xml", network)
    told = json.loads(call("profile", path, "--device", "pi", "--runs", "3", "--json")[1])
    assert "Convolution" in {layer["op"] for layer in told["layers"]}
    found = json.loads(call("compare", network, path, "--device", "pi", "--samples", "4", "--json")[1])
    assert len(found["layers"]) > 5
    assert found["parts_at"] is None


def test_samples_that_differ_the_second_time_are_told(tmp_path: Path) -> None:
    from edgekit.backends import open_reader
    from edgekit.backends.opening import read_artifact
    from edgekit.compare.board import BoardRun, on_board
    from edgekit.errors import DataError
    from edgekit.testing.onnx_networks import residual_network

    path = residual_network(tmp_path / "net.onnx")
    with open_reader(read_artifact(path)) as reader:
        (spec,) = reader.signature.inputs
        shape = [size or 1 for size in spec.shape]
        np.save(tmp_path / "feed.npy", np.zeros(shape, np.float32))
        run = BoardRun({spec.name: str(tmp_path / "feed.npy")}, {}, {}, 0, "pi (device)", "a reason")
        with pytest.raises(DataError, match="sample 0 of net is another one than the device was given"):
            on_board(reader, run, "net").run({spec.name: np.ones(shape, np.float32)})
