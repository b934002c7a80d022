"""`edgekit profile`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.cli.profile import profile
from edgekit.cli.profile_layers import bottlenecks, fused_into, rank
from edgekit.errors import DataError, DeviceError, MissingExtraError, ModelError, UserError
from edgekit.graph import CalibrationData
from edgekit.hardware import find_target
from edgekit.quantize import find_recipe
from edgekit.store import Store
from edgekit.testing.onnx_networks import as_variant, residual_network, samples
from edgekit.types import Candidate, Cost, LayerCost, LayerTime, QuantizationSummary

onnx = pytest.importorskip("onnx")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """[1, 3, 8, 8] → Conv → Relu → GlobalAveragePool: 13,824 MACs."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["y"], "pool"),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(profile, [*map(str, arguments), "--runs", "3"], standalone_mode=False)


def answer(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    if result.exception:
        raise result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def layer(name: str, time_ms: float, op: str = "Conv") -> LayerTime:
    return LayerTime(name, op, "fp32", time_ms)


def cost(**macs: int) -> Cost:
    layers = tuple(LayerCost(name, "Conv", count, 0, 0) for name, count in macs.items())
    return Cost(sum(macs.values()), 0, 0, 0, layers)


def test_layers_come_slowest_first_with_share_and_rate() -> None:
    rows = rank([layer("a", 1.0), layer("b", 3.0)], cost(a=10**6, b=6 * 10**6), {})
    assert [(row.name, row.share, row.gmac_s) for row in rows] == [("b", 0.75, 2.0), ("a", 0.25, 1.0)]


def test_a_fused_layer_has_the_work_and_the_name_of_the_node_it_stands_for() -> None:
    (row,) = rank([layer("relu", 1.0)], cost(conv=10**6), {"relu": "conv"})
    assert (row.name, row.macs) == ("conv", 10**6)


def test_a_layer_without_multiplications_has_no_rate() -> None:
    (row,) = rank([layer("pool", 1.0)], cost(conv=1), {})
    assert (row.macs, row.gmac_s) == (None, None)


def test_only_a_sole_reader_is_taken_as_fused(network: Path) -> None:
    assert fused_into(network) == {"relu": "conv", "pool": "relu"}


def test_the_layers_that_take_half_of_the_time_are_named() -> None:
    rows = rank([layer("a", 6.0), layer("b", 3.0), layer("c", 1.0)], None, {})
    assert bottlenecks(rows) == ["1 of 3 layers take half of the time: a (60%)"]


def test_a_layer_slow_for_its_work_is_named() -> None:
    times = [layer("a", 1.0), layer("b", 1.0), layer("c", 1.0), layer("d", 1.0)]
    rows = rank(times, cost(a=10**7, b=10**7, c=10**7, d=10**6), {})
    assert "slow for their work (median 10.0 GMAC/s): d (1.0 GMAC/s)" in bottlenecks(rows)


def test_nothing_measurable_is_said_and_not_divided_by() -> None:
    assert bottlenecks(rank([layer("a", 0.0)], None, {})) == ["no layer took a measurable time"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_onnx_file_is_profiled_by_either_runtime(network: Path, backend: str) -> None:
    pytest.importorskip(backend)
    found = answer(network, "--backend", backend)
    assert found["backend"] == backend
    assert found["totals"]["macs"] == 13_824
    assert found["totals"]["parameters"] == 216
    assert 13_824 in [each["macs"] for each in found["layers"]]


def test_an_openvino_file_is_profiled_as_it_is(network: Path, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    path = tmp_path / "net.xml"
    ov.save_model(ov.Core().read_model(str(network)), str(path))
    found = answer(path)
    assert (found["backend"], found["totals"]["macs"]) == ("openvino", None)
    assert "Convolution" in [each["op"] for each in found["layers"]]


def test_an_int8_artifact_in_a_store_tells_what_was_decided(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    stored = samples(32)
    out = tmp_path / "out"
    out.mkdir()
    request = ExportRequest(
        as_variant(residual_network(tmp_path / "residual.onnx")),
        Candidate("c", "original", "onnxruntime", "int8", "int8-mixed"),
        find_target("generic-cpu"),
        frozenset({"avx2", "fma"}),
        out,
        find_recipe("int8-mixed"),
        CalibrationData(lambda: iter([(stored,)]), len(stored), "digest"),
    )
    artifact = get_backend("onnxruntime").export(request)

    def make(folder: Path) -> dict[str, Any]:
        shutil.copy(Path(artifact.folder) / artifact.entry, folder)
        return {"answer": msgspec.to_builtins(artifact)}  # as building/cache.py keeps a task's answer

    with Store.open(tmp_path / "store") as store:
        path = store.entry("export", {}, make).path / artifact.entry
        told = answer(path)["quantization"]
        assert msgspec.convert(told, QuantizationSummary) == artifact.quantization
        text = run(path).output
    (kept,) = told["in_float"]
    assert f"in float: {kept['name']} (most sensitive)" in text
    assert "integers: uint8 activations, any zero point; int8 weights of 7 bits per channel" in text
    assert answer(Path(artifact.folder) / artifact.entry)["quantization"] is None


def test_a_torch_model_is_exported_with_the_given_shape(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = tmp_path / "tiny_net.py"
    source.write_text("import torch\n\ndef make():\n    return torch.nn.Linear(4, 3)\n")
    assert answer("--model", f"{source}:make", "--input-shape", "1,4")["totals"]["macs"] == 12


def test_the_first_sample_of_the_data_gives_shape_and_input(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = tmp_path / "tiny_net.py"
    source.write_text("import torch\n\ndef make():\n    return torch.nn.Linear(4, 3)\n")
    np.savez(tmp_path / "data.npz", x=np.ones((32, 4), np.float32), y=np.arange(32) % 3)
    assert answer("--model", f"{source}:make", "--data", tmp_path / "data.npz")["totals"]["macs"] == 12


def test_the_part_of_the_weights_is_taken(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    source = tmp_path / "tiny_net.py"
    source.write_text("import torch\n\ndef make():\n    return torch.nn.Linear(4, 3)\n")
    held = {"net.weight": torch.ones(3, 4), "net.bias": torch.ones(3), "loss.weight": torch.ones(1)}
    torch.save(held, tmp_path / "w.pt")
    asked = ("--model", f"{source}:make", "--weights", tmp_path / "w.pt", "--input-shape", "1,4")
    with pytest.raises(ModelError, match=r"--weights-prefix net\. takes only what stands under it"):
        answer(*asked)
    assert answer(*asked, "--weights-prefix", "net.")["totals"]["macs"] == 12


def test_a_torch_model_without_a_shape_is_a_users_error(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = tmp_path / "tiny_net.py"
    source.write_text("import torch\n\ndef make():\n    return torch.nn.Linear(4, 3)\n")
    with pytest.raises(UserError, match=r"--data or --input-shape 1x3x32x32"):
        answer("--model", f"{source}:make")


def test_a_shape_that_is_none_is_a_users_error(tmp_path: Path) -> None:
    source = tmp_path / "tiny_net.py"
    source.write_text("def make():\n    return None\n")
    with pytest.raises(UserError, match=r"--input-shape '1,x'"):
        answer("--model", f"{source}:make", "--input-shape", "1,x")


def test_data_of_another_shape_is_a_users_error(network: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((32, 3, 4, 4), np.float32), y=np.arange(32) % 2)
    with pytest.raises(DataError, match=r"a sample is \[1, 3, 4, 4\], input x takes \[1, 3, 8, 8\]"):
        answer(network, "--data", tmp_path / "data.npz")


def test_neither_or_both_of_artifact_and_model_is_a_users_error(network: Path) -> None:
    for arguments in ([], [network, "--model", network]):
        with pytest.raises(UserError, match="give one of the two"):
            answer(*arguments)


def test_a_file_that_is_not_there_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        answer(tmp_path / "none.onnx")


def test_a_file_of_another_kind_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"suffix '\.txt'"):
        answer(tmp_path / "none.txt")


def test_a_damaged_openvino_file_is_a_users_error(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "net.xml").write_text("<net>")
    with pytest.raises(ModelError, match="OpenVINO cannot load"):
        answer(tmp_path / "net.xml")


def test_a_missing_runtime_names_the_pip_line(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "edgekit\[openvino\]"'):
        answer(network, "--backend", "openvino")


def test_the_table_fits_eighty_columns_and_shows_the_top(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(network, "--backend", "onnxruntime", "--top", "1")
    assert result.exception is None
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "the slowest 1 of" in result.stdout
    assert "bottleneck: " in result.stdout


def test_help_has_an_example() -> None:
    assert "--input-shape 1x3x32x32" in CliRunner().invoke(profile, ["--help"]).stdout


@pytest.fixture
def fake_board(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device that is emulated and tells no layers."""
    from edgekit.devices import table

    fake = ("edgekit.testing.fake_board", "FakeBoardDevice")
    monkeypatch.setattr(table, "DEVICES", {**table.DEVICES, "fake-board": fake})
    return "fake-board"


def test_where_a_board_tells_no_layers_there_is_the_whole_and_why(network: Path, fake_board: str) -> None:
    found = answer(network, "--device", fake_board)
    assert found["layers"] == []
    assert found["no_layers"].startswith("a fake board runs nothing")
    assert found["totals"]["time_ms"] is None
    assert found["totals"]["macs"] == 13_824  # counted here
    assert found["bottlenecks"] == []
    assert 0.9 < found["whole_network_ms"]["value"] < 1.1
    assert found["device"]["origin"] == "emulated"
    text = run(network, "--device", fake_board).output
    assert "no times of layers: a fake board runs nothing" in text
    assert "emulated: what runs there is right, how long it takes says nothing of a board" in " ".join(
        text.split()
    )


def test_a_board_without_the_runtime_is_told_with_what_installs_it(network: Path, fake_board: str) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(DeviceError, match="OpenVINO is not installed on fake-board; allowed: onnxruntime"):
        answer(network, "--device", fake_board, "--backend", "openvino")


def test_an_unknown_device_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match='no device "nowhere"'):
        answer(tmp_path / "none.onnx", "--device", "nowhere")


def test_what_is_measured_here_says_so(network: Path) -> None:
    found = answer(network, "--backend", "onnxruntime")
    assert found["device"]["name"] == "local"
    assert found["device"]["origin"] == "host"
    assert found["no_layers"] == ""
    assert found["whole_network_ms"]["low"] <= found["whole_network_ms"]["value"]
