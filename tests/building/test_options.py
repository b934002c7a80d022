"""What `edgekit build` is asked beside the build itself: a plan, runtimes, how much is told, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.building.request import BuildRequest
from edgekit.building.setup import prepare
from edgekit.errors import UserError
from edgekit.result import load_result
from edgekit.store import Store
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork


def one_line(text: str) -> str:
    """What stands on standard error, which is nothing but that line."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


@pytest.fixture(scope="module")
def built(digits_network: UserNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick build in one runtime that says everything, its standard output and error beside it."""
    work = tmp_path_factory.mktemp("built")
    arguments = build_arguments(digits_network, work, runtime="onnxruntime", precision="fp32")
    done = run([*arguments, "--verbose", "--json"])
    assert done.returncode == 0, done.stderr
    (work / "stdout").write_text(done.stdout)
    (work / "stderr").write_text(done.stderr)
    return work


def test_only_the_runtimes_that_are_asked_for_are_tried(built: Path) -> None:
    result = load_result(built / "out" / "result.json")
    assert {row.backend for row in result.candidates} == {"onnxruntime"}


def test_json_leaves_out_the_single_timings_and_the_file_keeps_them(built: Path) -> None:
    printed = json.loads((built / "stdout").read_text())
    stored = json.loads((built / "out" / "result.json").read_text())
    assert len((built / "stdout").read_text()) < 20_000
    assert printed["run"]["command"] == stored["run"]["command"]
    for shown, kept in zip(printed["candidates"], stored["candidates"], strict=True):
        assert not shown["latency_ms"].pop("rounds_ms")
        assert kept["latency_ms"].pop("rounds_ms")
        assert not shown["latency_ms"].pop("turns")
        assert kept["latency_ms"].pop("turns")
        assert shown == kept


def test_verbose_tells_the_details_of_each_stage(built: Path) -> None:
    told = (built / "stderr").read_text()
    assert "Exporting and checking original: original-ort-fp32" in told
    assert "Measuring 1 candidates: timing" in told


def test_quiet_says_nothing_but_the_result_and_raw_has_the_timings(
    digits_network: UserNetwork, built: Path
) -> None:
    arguments = build_arguments(digits_network, built, runtime="onnxruntime", precision="fp32")
    done = run([*arguments, "--quiet", "--json", "--raw"])
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == json.loads((built / "out" / "result.json").read_text())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--quiet", "--verbose"], "--quiet and --verbose exclude each other"),
        (["--raw"], "--raw is for what --json prints"),
        (["--runtime", "litrt"], 'no runtime "litrt"; allowed: onnxruntime, openvino'),
        (["--runtime", "openvino,"], 'no runtime ""'),
        (["--runtime", "openvino,tensorrt"], "generic-cpu does not run TensorRT; allowed: openvino"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_one_line_and_nothing_is_made(
    digits_network: UserNetwork, tmp_path: Path, flags: list[str], expected: str
) -> None:
    done = run([*build_arguments(digits_network, tmp_path), *flags])
    assert done.returncode == 2
    assert expected in one_line(done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("foreign", ["out/bundle/notes.txt", "out/result.json", "out/report.html"])
def test_what_is_another_s_in_out_is_refused_before_anything_is_made(
    digits_network: UserNetwork, tmp_path: Path, foreign: str
) -> None:
    (tmp_path / foreign).parent.mkdir(parents=True)
    (tmp_path / foreign).write_text("mine")
    done = run([*build_arguments(digits_network, tmp_path)])
    assert done.returncode == 2
    assert str(tmp_path / "out") in one_line(done.stderr)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / foreign]
    assert (tmp_path / foreign).read_text() == "mine"


def test_a_plan_measures_the_original_and_writes_nothing_but_the_store(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    arguments = build_arguments(digits_network, tmp_path, runtime="onnxruntime", target="auto")
    done = run([*arguments, "--plan", "--json"])
    assert done.returncode == 0, done.stderr
    assert "which this machine is" in " ".join(done.stderr.split())
    plan = json.loads(done.stdout)
    assert {(row["backend"], row["precision"]) for row in plan["candidates"]} == {
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    }
    assert plan["original"]["metric"] == "top1"
    assert plan["original"]["value"] > 0.85
    assert plan["original"]["samples"] > 100
    assert len(plan["structures"]) > 5
    assert 0 < plan["estimated_s"]["low"] < plan["estimated_s"]["high"]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert not list((tmp_path / "store" / "scratch").iterdir())
    with Store.open(tmp_path / "store") as store:
        stages = {event.stage for event in store.events(store.last_runs(1)[0].id)}
    assert stages == {"network", "samples", "export", "outputs", "lint"}
    words = run([*arguments, "--plan", "--no-prune", "--max-latency", "5", "--max-size", "2MB"])
    assert "p90 latency ≤ 5 ms, drop ≤ 2.00 points, size ≤ 2 MB" in words.stdout
    assert "top1" in words.stdout
    assert "in all" in words.stdout
    assert "left out by the request" in words.stdout
    assert "structures" not in words.stdout


def test_a_plan_of_a_network_that_only_guesses_is_refused_as_its_build_is(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    model = digits_network.model.replace(":make", ":untrained")
    done = run([*build_arguments(digits_network, tmp_path, model=model, weights=""), "--plan"])
    assert done.returncode == 2
    assert "does not do its task" in done.stderr


def test_unknown_runtimes_are_refused_from_python_too(tmp_path: Path) -> None:
    request = BuildRequest(
        "generic-cpu", "net.py:make", "digits", backends=("openvno",), store=tmp_path / "s"
    )  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r'no runtime "openvno".*did you mean openvino'):
        prepare(request, print)
    assert not list(tmp_path.iterdir())
