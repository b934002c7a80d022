"""Whole builds on real digits, through the command line and from Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.result import Result, load_result
from edgekit.store import Store
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork


@pytest.fixture(scope="module")
def finished(digits_network: UserNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build whose budget the unpruned network meets."""
    work = tmp_path_factory.mktemp("finished")
    done = run(build_arguments(digits_network, work))
    assert done.returncode == 0, done.stderr
    assert "MEETS" in done.stdout
    return work


def result_of(work: Path) -> Result:
    return load_result(work / "out" / "result.json")


def assert_alike(first: Result, second: Result) -> None:
    """In all that must not depend on when or how often a build ran; which of two that tie is faster, the clock says."""

    def rows(result: Result) -> object:
        return [(row.id, row.accuracy, row.size_bytes, row.ran_as) for row in result.candidates]

    assert rows(first) == rows(second)
    assert first.verdict == second.verdict
    if first.winner == second.winner:
        assert first.claim == second.claim


def test_a_build_measures_every_precision_in_every_runtime_of_the_target(finished: Path) -> None:
    result = result_of(finished)
    made = {(row.backend, row.precision) for row in result.candidates}
    assert made == {
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("openvino", "fp32"),
        ("openvino", "int8"),
        ("litert", "fp32"),
        ("litert", "int8"),
    }
    assert all(row.latency_ms is not None and row.latency_ms.p50 > 0 for row in result.candidates)
    assert all(row.origin == "device" for row in result.candidates)
    assert not result.failures


def test_no_float_build_beats_the_winner_and_every_candidate_has_its_reason(finished: Path) -> None:
    result = result_of(finished)
    winner = next(row for row in result.candidates if row.id == result.winner)
    assert winner.accuracy is not None
    floats = [row.accuracy.drop for row in result.candidates if row.precision == "fp32" and row.accuracy]
    assert all(winner.accuracy.drop <= drop for drop in floats)
    assert all(row.why for row in result.candidates)


def test_the_winner_s_claim_is_measured_on_the_test_split(finished: Path) -> None:
    result = result_of(finished)
    assert result.claim is not None
    assert (result.claim.split, result.claim.samples) == ("test", result.run.split_sizes["test"])
    assert result.claim.value > 0.85


def test_the_bundle_verifies_and_its_own_script_answers_the_golden_inputs(finished: Path) -> None:
    bundle = finished / "out" / "bundle"
    assert run([sys.executable, "-m", "edgekit", "bundle", "verify", str(bundle)]).returncode == 0
    answered = run([sys.executable, str(bundle / "infer.py")])
    assert answered.returncode == 0
    assert "match" in answered.stdout


def test_the_report_stands_beside_the_result_and_loads_nothing_from_outside(finished: Path) -> None:
    page = (finished / "out" / "report.html").read_text()
    assert all(row.id in page for row in result_of(finished).candidates)
    assert 'src="http' not in page


def test_what_the_machine_did_meanwhile_reaches_the_result(finished: Path) -> None:
    result = result_of(finished)
    assert result.environment.sensors_before is not None
    assert result.environment.sensors_after is not None
    for candidate in result.candidates:
        assert candidate.import_ms is not None
        assert candidate.latency_ms is not None
        assert candidate.latency_ms.preemptions is not None
        assert len(candidate.latency_ms.turns) == len(candidate.latency_ms.rounds_ms)
    turns = [candidate.latency_ms.turns for candidate in result.candidates if candidate.latency_ms]
    assert all(sorted(places) == list(range(1, len(turns) + 1)) for places in zip(*turns, strict=True))


def test_an_identical_build_answers_from_the_store(digits_network: UserNetwork, finished: Path) -> None:
    before = result_of(finished)
    done = run(build_arguments(digits_network, finished))
    assert done.returncode == 0
    after = result_of(finished)
    assert after.candidates == before.candidates
    assert_alike(after, before)
    with Store.open(finished / "store") as store:
        events = store.events(store.last_runs(1)[0].id)
    assert events
    assert all(event.reused for event in events)


def test_pruning_is_skipped_with_its_reason_when_the_budget_is_met_without(finished: Path) -> None:
    reasons = [row.reason for row in result_of(finished).rejected if row.what == "pruning"]
    assert len(reasons) == 1
    assert "meets the budget" in reasons[0]


def test_a_budget_nobody_meets_is_missed_with_the_nearest_and_exit_code_3(
    digits_network: UserNetwork, finished: Path
) -> None:
    options = {"max_latency": "1us", "runtime": "onnxruntime,litert", "out": str(finished / "missed")}
    done = run(build_arguments(digits_network, finished, **options))
    assert done.returncode == 3
    result = load_result(finished / "missed" / "result.json")
    assert result.verdict == "MISSES"
    assert result.nearest in {row.id for row in result.candidates}
    assert any(row.what == "pruning" and "even" in row.reason for row in result.rejected)


@pytest.mark.slow
def test_a_size_that_needs_pruning_is_met_by_a_pruned_and_distilled_build(
    digits_network: UserNetwork, finished: Path
) -> None:
    sizes = [row.size_bytes for row in result_of(finished).candidates if row.precision == "int8"]
    done = run(
        build_arguments(
            digits_network,
            finished,
            max_size=str(round(0.85 * min(sizes))),
            epochs="30",
            max_drop="6%",
            runtime="onnxruntime,litert",
            out=str(finished / "small"),
        )
    )
    result = load_result(finished / "small" / "result.json")
    assert done.returncode == 0, result.explanation
    winner = next(row for row in result.candidates if row.id == result.winner)
    pruned = next(row for row in result.variants if row.id == winner.variant)
    assert pruned.kind == "pruned"
    assert pruned.macs < result.variants[0].macs
    assert pruned.history


def test_json_output_is_the_result_file(digits_network: UserNetwork, finished: Path) -> None:
    done = run([*build_arguments(digits_network, finished), "--json"])
    assert json.loads(done.stdout)["winner"] == result_of(finished).winner


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_an_exported_network_is_quantized_and_measured_but_not_pruned(
    digits_network: UserNetwork, tmp_path: Path, suffix: str
) -> None:
    import torch

    from edgekit.data import open_source
    from edgekit.model import export_onnx, load_module, locate
    from edgekit.types import Preprocess

    example = open_source("digits", Preprocess(), tmp_path).take(np.arange(2)).inputs
    network = load_module(locate(digits_network.model, digits_network.weights))
    path = tmp_path / f"net.{suffix}"
    if suffix == "onnx":
        export_onnx(network, example, path)
    else:
        torch.export.save(torch.export.export(network, (torch.from_numpy(example[0][:1]),)), path)
    work = tmp_path / "work"
    done = run(build_arguments(digits_network, work, model=str(path), weights="", max_latency="1us"))
    assert done.returncode == 3, done.stderr
    result = result_of(work)
    assert {row.precision for row in result.candidates} == {"fp32", "int8"}
    assert any(row.what == "pruning" and "net.py:factory" in row.instead for row in result.rejected)


def test_from_python_arrays_without_labels_are_judged_by_agreement(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    from sklearn.datasets import load_digits

    import edgekit
    from edgekit.model import load_module, locate

    network = load_module(locate(digits_network.model, digits_network.weights))
    images = (load_digits().images / 16).astype(np.float32)[:, None]
    result = edgekit.build(
        target="generic-cpu",
        model=network,
        data=(images, None),
        max_latency_ms=100.0,
        max_drop=0.05,
        backends=("onnxruntime",),
        precisions=("fp32", "int8"),
        prune=False,
        timed_s=0.3,
        repeat=False,
        out=tmp_path / "out",
        store=tmp_path / "store",
    )
    assert result.verdict == "MEETS"
    assert {row.accuracy.metric for row in result.candidates if row.accuracy} == {"agreement"}
    assert not [name for name in os.listdir(tmp_path / "out") if "partial" in name]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_build_goes_on_and_ends_as_an_unbroken_one(
    digits_network: UserNetwork, finished: Path, tmp_path: Path, how: signal.Signals
) -> None:
    arguments = build_arguments(digits_network, tmp_path)
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that a script put into the background ignores SIGINT, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list(tmp_path.glob("store/objects/*/*")):
        time.sleep(0.05)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in said
    assert not (tmp_path / "out" / "result.json").exists()
    assert run(arguments).returncode == 0
    assert_alike(result_of(tmp_path), result_of(finished))


@pytest.mark.slow
def test_two_builds_at_once_in_one_store_end_alike(digits_network: UserNetwork, tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            build_arguments(digits_network, tmp_path, out=str(tmp_path / name)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in ("first", "second")
    ]
    assert [process.wait(timeout=500) for process in both] == [0, 0]
    first, second = (load_result(tmp_path / name / "result.json") for name in ("first", "second"))
    assert_alike(first, second)


def test_a_time_limit_before_anything_is_measured_is_one_line_and_nothing_is_written(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    done = run(build_arguments(digits_network, tmp_path, time_limit="0.1s"))
    assert done.returncode == 130
    assert "the time limit of 0.1s ended before anything could be measured" in done.stderr
    assert not (tmp_path / "out").exists()


def test_at_the_time_limit_the_best_of_what_is_finished_is_handed_over_and_a_rerun_goes_on(
    digits_network: UserNetwork, finished: Path, tmp_path: Path
) -> None:
    asked = {"precision": "fp32,int8,w8", "store": str(finished / "store")}
    done = run(build_arguments(digits_network, tmp_path, time_limit="0.01s", **asked))
    assert done.returncode == 0, done.stderr
    cut, whole = result_of(tmp_path), result_of(finished)
    assert (cut.verdict, cut.winner) == (whole.verdict, whole.winner)
    assert {row.id for row in cut.candidates} == {row.id for row in whole.candidates}
    undone = [row.what for row in cut.rejected if row.reason == "not tried: the time limit of 0.01s ended"]
    assert undone
    assert all("w8" in name for name in undone)
    assert any(all(name in line for name in undone) for line in cut.warnings)
    assert "the time limit of 0.01s ended" in " ".join(done.stdout.split())
    assert (
        run([sys.executable, "-m", "edgekit", "bundle", "verify", str(tmp_path / "out/bundle")]).returncode
        == 0
    )
    assert (tmp_path / "out" / "report.html").is_file()
    assert run(build_arguments(digits_network, tmp_path, time_limit="1h", **asked)).returncode == 0
    longer = result_of(tmp_path)
    assert set(undone) <= {row.id for row in longer.candidates}
    assert not any("time limit" in line for line in longer.warnings)
