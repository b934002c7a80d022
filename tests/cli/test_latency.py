"""`edgekit latency`: from measuring single layers to the time of a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgekit.cli import cli
from edgekit.errors import UserError
from edgekit.latency import load_table, save_table
from edgekit.latency.precisions import precision_graph
from edgekit.latency.stored import open_table
from tests.devices.models import write_classifier

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network and a table of its layers."""
    folder = tmp_path_factory.mktemp("latency")
    write_classifier(folder / "net.onnx")
    told = call("measure", "--model", str(folder / "net.onnx"), "--table", str(folder / "table.json"))
    assert told["notes"][0].endswith("points measured, 0 were known")
    return folder


def call(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, ["latency", *arguments, "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


def test_what_was_measured_is_not_measured_again(measured: Path) -> None:
    before = (measured / "table.json").read_bytes()
    told = call("measure", "--model", str(measured / "net.onnx"), "--table", str(measured / "table.json"))
    assert told["notes"][0].startswith("0 points measured")
    assert (measured / "table.json").read_bytes() == before


def test_a_prediction_sums_the_layers_and_names_each(measured: Path) -> None:
    told = call("predict", "--table", str(measured / "table.json"), "--model", str(measured / "net.onnx"))
    assert [row["unit"].split()[0] for row in told["units"]] == ["conv", "average", "linear"]
    assert told["sum_ms"] == pytest.approx(sum(row["latency_ms"]["value"] for row in told["units"]))
    assert told["latency_ms"]["low"] <= told["latency_ms"]["value"] <= told["latency_ms"]["high"]
    assert "not corrected" in told["notes"][0]


def test_layers_outside_of_the_table_are_named_and_nothing_is_predicted(measured: Path) -> None:
    told = call(
        "predict",
        "--table",
        str(measured / "table.json"),
        "--model",
        str(measured / "net.onnx"),
        "--precision",
        "fp32",
    )
    assert told["latency_ms"] is None
    assert all("was measured" in row["outside"] for row in told["units"])


def test_without_a_table_an_absent_board_is_provisional(measured: Path) -> None:
    told = call("predict", "--model", str(measured / "net.onnx"), "--target", "raspberry-pi-4")
    assert told["verdict"] == "PROVISIONAL"
    assert told["latency_ms"][1] <= told["latency_ms"][0] <= told["latency_ms"][2]


def test_a_table_survives_its_file(measured: Path, tmp_path: Path) -> None:
    table = load_table(measured / "table.json")
    save_table(table, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (measured / "table.json").read_bytes()
    assert load_table(tmp_path / "again.json") == table


@pytest.mark.parametrize(
    ("key", "value"), [("version", "0.1"), ("threads", 4), ("cpu", "another"), ("features", [])]
)
def test_a_table_of_another_device_is_refused(
    measured: Path, tmp_path: Path, key: str, value: object
) -> None:
    content = json.loads((measured / "table.json").read_text())
    content["measured_on"][key] = value
    (tmp_path / "other.json").write_text(json.dumps(content))
    here = load_table(measured / "table.json").measured_on
    with pytest.raises(UserError, match="table of another device"):
        open_table(tmp_path / "other.json", here)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content.pop("families"), "families"),
        (lambda content: content.update(schema=2), "schema"),
        (lambda content: content["families"][0]["points"].append([0, 8, 1.0, 1.0, 1.0]), ">= 1"),
        (
            lambda content: content["families"][0]["points"].append([8, 8, 1.0, 2.0, 3.0]),
            "outside of its interval",
        ),
        (lambda content: content["families"][0]["family"].update(kind="else"), "kind"),
        (lambda content: content.update(more=1), "more"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(
    measured: Path, tmp_path: Path, damage: Any, why: str
) -> None:
    content = json.loads((measured / "table.json").read_text())
    damage(content)
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=why) as problem:
        load_table(tmp_path / "bad.json")
    assert "\n" not in str(problem.value)


def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b'{"schema": 1, ')
    with pytest.raises(UserError, match="no latency table"):
        load_table(tmp_path / "bad.json")
    with pytest.raises(UserError, match="cannot be read"):
        load_table(tmp_path / "none.json")


def test_layers_in_both_precisions_and_transitions_serve_a_build(measured: Path, tmp_path: Path) -> None:
    model, table = str(measured / "net.onnx"), tmp_path / "mixed.json"
    told = call("measure", "--model", model, "--table", str(table), "--mixed")
    assert told["notes"][0].endswith("points measured, 0 were known")
    times = precision_graph(Path(model), "onnxruntime").times(load_table(table))
    assert all(unit.extra_ms is not None for unit in times.units)
    assert all(border.ms > 0 for border in times.borders)
    assert call("measure", "--model", model, "--table", str(table), "--mixed")["notes"][0].startswith(
        "0 points"
    )
