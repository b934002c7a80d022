"""`edgekit plan`: plans in words and as JSON, from a table and a network; nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekit.cli import cli
from edgekit.compress import PrunePlan, apply_plan
from edgekit.errors import UserError
from edgekit.latency import save_table, units_of
from edgekit.model.export import export_onnx
from tests.planning.attentions import attention_table, small_vit
from tests.planning.networks import formula_table, small_resnet

EXAMPLE = (np.zeros((1, 3, 16, 16), np.float32),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, 96 samples, and the times of its layers."""
    folder = tmp_path_factory.mktemp("planned")
    network, chance = small_resnet(1), np.random.default_rng(0)
    export_onnx(network, EXAMPLE, folder / "network.onnx")
    save_table(
        formula_table(units_of(folder / "network.onnx", "onnxruntime", "int8").units), folder / "table.json"
    )
    np.savez(
        folder / "data.npz",
        x=chance.normal(size=(96, 3, 16, 16)).astype(np.float32),
        y=chance.integers(0, 10, 96),
    )
    (folder / "net.py").write_text(
        "from tests.planning.networks import small_resnet\n\n\ndef make():\n    return small_resnet(1)\n"
    )
    return folder


def run(folder: Path, *more: str) -> Result:
    command = ["plan", "--target", "generic-cpu", "--model", f"{folder / 'net.py'}:make", "--quiet"]
    command += ["--data", str(folder / "data.npz"), "--table", str(folder / "table.json")]
    command += ["--store", str(folder / "store"), "--calibration-samples", "32", *more]
    return CliRunner().invoke(cli, command, standalone_mode=False, catch_exceptions=False)


@pytest.mark.slow
def test_plans_are_told_with_their_reasons_and_as_json(folder: Path) -> None:
    told = run(folder, "--max-latency", "0.05ms", "--json")
    assert told.return_value == 0
    planned = json.loads(told.output)
    assert planned["original"]["latency_ms"] > 0.05
    assert 3 <= len(planned["proposals"]) <= 5
    for item in planned["proposals"]:
        plan = item["proposal"]["solution"]["plan"]
        assert plan["latency_ms"] <= 0.05 * item["proposal"]["share"] * (1 + 1e-9)
        pruning = PrunePlan.from_json(json.dumps(item["pruning"]))
        assert list(pruning.dropped) == plan["dropped"]
        apply_plan(small_resnet(1), EXAMPLE, pruning)
        assert {choice["name"] for choice in item["choices"]} >= set(plan["widths"])

    shown = run(folder, "--max-latency", "0.05ms", "--show", "2")
    assert shown.return_value == 0
    assert max(map(len, shown.output.splitlines())) <= 80
    assert "plan 2, and what each other choice would change" in shown.output
    assert "first.0.conv1" in shown.output
    assert "not corrected by whole networks" in shown.output


def test_a_limit_that_nothing_keeps_is_told_with_the_fastest_plan(folder: Path) -> None:
    told = run(folder, "--max-latency", "0.001ms")
    assert told.return_value == 3
    assert "INFEASIBLE" in told.output


def test_a_table_of_another_machine_than_the_target_is_told(folder: Path) -> None:
    told = run(folder, "--target", "raspberry-pi-4", "--max-latency", "0.001ms")
    assert "the table was not measured on raspberry-pi-4" in " ".join(told.output.split())


def test_a_table_of_a_runtime_that_the_target_has_not_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="onnxruntime, which jetson-nano does not run; allowed: tensorrt"):
        run(folder, "--target", "jetson-nano", "--max-latency", "1ms")


@pytest.mark.slow
def test_what_is_left_of_each_attention_is_told(tmp_path: Path) -> None:
    network, chance = small_vit(depth=1), np.random.default_rng(0)
    export_onnx(network, EXAMPLE, tmp_path / "network.onnx")
    units = units_of(tmp_path / "network.onnx", "onnxruntime", "int8").units
    table = attention_table(units)
    save_table(table, tmp_path / "table.json")
    whole = table.predict_network(units).latency_ms
    assert whole is not None
    limit = f"{0.85 * whole.value}ms"
    images = chance.normal(size=(96, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=images, y=chance.integers(0, 10, 96))
    (tmp_path / "net.py").write_text(
        "from tests.planning.attentions import small_vit\n\n\ndef make():\n    return small_vit(depth=1)\n"
    )
    told = json.loads(run(tmp_path, "--max-latency", limit, "--json").output)
    for item in told["proposals"]:
        (attention,) = item["attentions"]
        assert attention["layer"] == "net.vit.layers.0.attention.o_proj"
        heads = item["proposal"]["solution"]["plan"]["widths"].get("net.vit.layers.0.attention.q_proj heads")
        assert attention["heads"] == ("gone" if heads is None else f"{heads} of 4")
    kept = [item for item in told["proposals"] if not item["proposal"]["solution"]["plan"]["dropped"]]
    assert any(item["attentions"][0]["heads"] < "4 of 4" for item in kept)
    shown = run(tmp_path, "--max-latency", limit, "--show", "2").output
    assert "attentions: heads, and channels of each" in shown
    assert max(map(len, shown.splitlines())) <= 80
