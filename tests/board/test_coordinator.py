"""The coordinator and its workers, as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgekit.board.process import command
from edgekit.board.sessions.opening import open_session
from edgekit.devices import LocalDevice
from edgekit.errors import StageError
from edgekit.testing.fake_sensors import FakeSensors
from tests.devices.models import write_classifier, write_growing

QUICK = {"schema": 1, "rounds": 3, "seconds": 0.05, "warmup_s": 0.2, "cpus": None}


def entry(path: Path, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": name, "runtime": "onnxruntime", "path": str(path), **more}


def run(work: Path, entries: list[dict[str, Any]], progress: Any = None, **more: Any) -> Any:
    return LocalDevice(work).run({**QUICK, **more, "entries": entries}, timeout_s=120.0, progress=progress)


def workers() -> list[psutil.Process]:
    """Worker processes of this test's coordinator, in the job's order."""
    workers = [p for p in psutil.Process().children(recursive=True) if "worker" in p.cmdline()]
    return sorted(workers, key=lambda process: (process.create_time(), process.pid))


def test_every_round_holds_every_entry_in_an_order_fixed_by_the_seed(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")
    entries = [entry(net, name) for name in "abc"]
    result = run(tmp_path / "work", entries, seed=5, rounds=6)
    assert [sorted(order) for order in result["order"]] == [["a", "b", "c"]] * 6
    assert len({tuple(order) for order in result["order"]}) > 1
    assert run(tmp_path / "work", entries, seed=5, rounds=6)["order"] == result["order"]


def test_a_worker_ended_by_a_signal_fails_alone(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")
    killed: list[int] = []

    def kill_first(stage: str, _entry: str, _done: int, _total: int) -> None:
        if stage == "time" and not killed:
            killed.append(workers()[0].pid)
            os.kill(killed[0], signal.SIGSEGV)

    result = run(tmp_path / "work", [entry(net, "a"), entry(net, "b")], kill_first, rounds=30, seconds=0.5)
    assert result["entries"]["a"]["signal"] == "SIGSEGV"
    assert "SIGSEGV" in result["entries"]["a"]["cause"]
    assert result["entries"]["b"]["status"] == "ok"
    assert len(result["entries"]["b"]["rounds_ms"]) == 30


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up_alone(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")

    def stop_first(stage: str, _entry: str, done: int, _total: int) -> None:
        if stage == "time" and done == 0:
            workers()[0].suspend()

    result = run(tmp_path / "work", [entry(net, "a"), entry(net, "b")], stop_first, rounds=30, seconds=0.5,
                 timeout_s=12)  # fmt: skip
    assert "time limit" in result["entries"]["a"]["cause"]
    assert result["entries"]["b"]["status"] == "ok"


def test_an_exception_of_the_runtime_is_the_cause_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    failed = run(tmp_path / "work", [entry(tmp_path / "net.onnx")])["entries"]["a"]
    assert failed["stage"] == "load"
    assert "INVALID_PROTOBUF" in failed["cause"]
    assert "\n" not in failed["cause"]
    assert "InvalidProtobuf" in failed["stderr"][-1]


def test_outputs_are_those_of_each_sample_alone(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")
    samples = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    np.save(tmp_path / "x.npy", samples)
    evaluate = {"inputs": {"input": str(tmp_path / "x.npy")}, "outputs": "out"}
    result = run(tmp_path / "work", [entry(net, evaluate=evaluate)], seconds=0)["entries"]["a"]
    outputs = np.load(tmp_path / "work" / result["outputs"]["scores"])
    with open_session("onnxruntime", str(net)) as session:
        expected = [session.run({"input": samples[i : i + 1]})["scores"][0] for i in range(5)]
    np.testing.assert_array_equal(outputs, expected)
    assert not list((tmp_path / "work").rglob("*.part"))


def test_without_seconds_nothing_is_timed(tmp_path: Path) -> None:
    result = run(tmp_path / "work", [entry(write_classifier(tmp_path / "net.onnx"))], seconds=0)["entries"][
        "a"
    ]
    assert "rounds_ms" not in result
    assert result["peak_memory_bytes"] > 1_000_000


def test_outputs_whose_shape_changes_are_told(tmp_path: Path) -> None:
    net = write_growing(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]], dtype=np.float32))
    evaluate = {"inputs": {"input": str(tmp_path / "x.npy")}, "outputs": "out"}
    failed = run(tmp_path / "work", [entry(net, evaluate=evaluate)], seconds=0)["entries"]["a"]
    assert failed["stage"] == "evaluate"
    assert "(2, 2) for one sample, (2, 1) before" in failed["cause"]


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_workers_are_pinned_to_the_cpus_of_the_job(tmp_path: Path) -> None:
    cpu = sorted(os.sched_getaffinity(0))[-1]
    seen: list[list[int]] = []

    def look(stage: str, _entry: str, _done: int, _total: int) -> None:
        if stage == "time":
            seen.extend(process.cpu_affinity() for process in workers())

    run(tmp_path / "work", [entry(write_classifier(tmp_path / "net.onnx"))], look, cpus=[cpu])
    assert seen
    assert all(cpus == [cpu] for cpus in seen)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_nothing_stays_when_the_coordinator_is_killed(tmp_path: Path) -> None:
    job = {**QUICK, "seconds": 60.0, "entries": [entry(write_classifier(tmp_path / "net.onnx"))]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    program = command("run", str(tmp_path / "job.json"), "--parent", str(os.getpid()))
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["progress"]["stage"] == "time":
                break
        children = workers()
        process.kill()
    assert children
    _gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert not (tmp_path / "result.json").exists()


def test_a_runner_that_exceeds_its_time_is_a_stage_error(tmp_path: Path) -> None:
    device = LocalDevice(tmp_path / "work")
    job = {**QUICK, "seconds": 60.0, "entries": [entry(write_classifier(tmp_path / "net.onnx"))]}
    begin = time.monotonic()
    with pytest.raises(StageError, match="did not finish within"):
        device.run(job, timeout_s=0.05)
    assert time.monotonic() - begin < 30
    assert not list((tmp_path / "work").iterdir())


def test_a_job_of_another_schema_is_a_stage_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="job schema 99"):
        LocalDevice(tmp_path / "work").run({**QUICK, "schema": 99, "entries": []}, timeout_s=60.0)


def on_fake(work: Path, root: Path, progress: Any = None, **more: Any) -> Any:
    net = write_classifier(root.parent / "net.onnx")
    return run(work, [entry(net, "a"), entry(net, "b")], progress, root=str(root), **more)["entries"]


def test_a_machine_that_tells_nothing_is_never_called_clean(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    certificate = on_fake(tmp_path / "work", tmp_path / "root")["a"]["steadiness"]
    assert certificate["state"] == "unknown"
    assert "temperature" in certificate["reasons"][0]


def test_a_throttled_run_is_repeated_and_is_clean_when_the_board_has_recovered(tmp_path: Path) -> None:
    """All entries again, since throttling is the board's; the pause is told; what counts is the last attempt."""
    board = FakeSensors(tmp_path / "root", "raspberry-pi-4")
    board.load()
    told: list[str] = []

    def act(stage: str, _entry: str, done: int, _total: int) -> None:
        told.append(stage)
        if stage == "time":
            board.flags(0x4 if done == 1 and "cool" not in told else 0)
        if stage == "cool":
            board.flags(0)

    entries = on_fake(tmp_path / "work", tmp_path / "root", act, repeats=2, pause_s=0.2)
    assert "cool" in told
    for row in entries.values():
        assert row["steadiness"]["attempts"] == 2
        assert row["steadiness"]["state"] != "throttled"
        assert len(row["rounds_ms"]) == len(row["turns"]) == QUICK["rounds"]


def test_a_board_that_stays_throttled_is_marked_after_the_last_repetition(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path / "root", "raspberry-pi-4")
    board.load()
    board.flags(0x4)
    certificate = on_fake(tmp_path / "work", tmp_path / "root", repeats=1, pause_s=0.1)["a"]["steadiness"]
    assert certificate["state"] == "throttled"
    assert certificate["attempts"] == 2
    assert certificate["reasons"][0] == "the firmware told: the firmware throttles"
