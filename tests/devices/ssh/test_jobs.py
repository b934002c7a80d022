"""Jobs on a board whose link, processes and folders go at the worst moment: one result, the right one, or one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.board.jobs import Jobs
from edgekit.devices import LocalDevice, Measured, MeasureOptions, measure
from edgekit.devices.ssh import SshDevice
from edgekit.errors import DeviceError, StageError
from edgekit.files import sha256_file
from edgekit.testing.sshd import Sshd
from edgekit.types import Artifact, FileHash
from tests.devices.models import PIXELS, write_classifier

Maker = Callable[..., SshDevice]
LIMIT_S = 120.0


def push(device: Any, folder: Path, run: str = "run-0123456789ab") -> dict[str, Any]:
    """Push a network and samples; gives the job that names them."""
    path, samples = folder / "net.onnx", folder / "samples.npy"
    if not path.exists():
        write_classifier(path)
        np.save(samples, np.random.default_rng(0).random((3, 3, PIXELS, PIXELS), dtype=np.float32))
    device.push([(path, f"{run}/0/net.onnx"), (samples, f"{run}/samples-0.npy")])
    evaluate = {"inputs": {"input": f"{run}/samples-0.npy"}, "outputs": f"{run}/0/outputs"}
    entry = {"id": "net", "runtime": "onnxruntime", "path": f"{run}/0/net.onnx", "evaluate": evaluate}
    return {"schema": 1, "rounds": 3, "seconds": 0.3, "warmup_s": 0.1, "entries": [entry]}


def scores(device: Any, result: Mapping[str, Any], folder: Path) -> np.ndarray:
    assert result["entries"]["net"]["status"] == "ok", result["entries"]["net"]
    (path,) = device.pull([result["entries"]["net"]["outputs"]["scores"]], folder)
    answers: np.ndarray = np.load(path, allow_pickle=False)
    return answers


def at_stage(stage: str, action: Callable[[], None]) -> Callable[..., None]:
    """A progress function that acts once, when that stage is told."""
    done: list[str] = []

    def tell(told: str, *_rest: Any) -> None:
        if told == stage and not done:
            done.append(told)
            action()

    return tell


def jobs_there(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "there" / "jobs").iterdir() if not path.name.startswith(".")]


def kill_keeper(tmp_path: Path) -> None:
    (job,) = jobs_there(tmp_path)
    content = json.loads((tmp_path / "there" / "jobs" / job / "alive").read_text())
    os.kill(content["pid"], signal.SIGKILL)


def runner_of(tmp_path: Path) -> int:
    (job,) = jobs_there(tmp_path)
    keeper = json.loads((tmp_path / "there" / "jobs" / job / "alive").read_text())["pid"]
    (child,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return int(child)


def test_its_outputs_are_those_of_the_local_device(make_device: Maker, tmp_path: Path) -> None:
    answers = []
    for device in (make_device(), LocalDevice(tmp_path / "local")):
        result = device.run(push(device, tmp_path), timeout_s=LIMIT_S)
        answers.append(scores(device, result, tmp_path / "back"))
    np.testing.assert_array_equal(*answers)
    assert jobs_there(tmp_path) == [], "the board keeps a job that was fetched"


def test_a_job_names_the_same_key_whatever_the_run_is_called(make_device: Maker, tmp_path: Path) -> None:
    from edgekit.devices.ssh.packing import pack_job

    device = make_device()
    keys = set()
    for run in ("run-0123456789ab", "run-ba9876543210"):
        keys.add(pack_job(push(device, tmp_path, run), device._pushed, device.address).key)
    assert len(keys) == 1
    job = push(device, tmp_path)
    for change in ({"seed": 1}, {"seconds": 0.4}, {"threads": 2}):
        keys.add(pack_job({**job, **change}, device._pushed, device.address).key)
    assert len(keys) == 4


@pytest.mark.parametrize("stage", ["load", "time", "evaluate"])
def test_a_cut_link_loses_nothing(sshd: Sshd, make_device: Maker, tmp_path: Path, stage: str) -> None:
    device = make_device({"after": (("sh", "-c", f"echo once >> {tmp_path}/ran"),)})
    job = push(device, tmp_path)
    result = device.run(job, timeout_s=LIMIT_S, progress=at_stage(stage, sshd.cut))
    assert device._reach.losses >= 1
    assert scores(device, result, tmp_path / "back").shape == (3, 4)
    assert (tmp_path / "ran").read_text() == "once\n"


def test_a_link_that_is_gone_for_a_while(sshd: Sshd, make_device: Maker, tmp_path: Path) -> None:
    device = make_device()
    told: list[str] = []

    def away() -> None:
        sshd.stop()
        threading.Timer(2.0, sshd.start).start()

    cut = at_stage("load", away)
    job = push(device, tmp_path)

    def tell(stage: str, entry: str, *rest: int) -> None:
        told.append(f"{stage} {entry}")
        cut(stage, entry, *rest)

    result = device.run(job, timeout_s=LIMIT_S, progress=tell)
    assert scores(device, result, tmp_path / "back").shape == (3, 4)
    assert [line for line in told if line.startswith("wait the link to pi is lost")]


def test_a_link_that_does_not_come_back_is_told_and_the_result_waits(
    sshd: Sshd, make_device: Maker, tmp_path: Path
) -> None:
    changes = {"after": (("sh", "-c", f"echo once >> {tmp_path}/ran"),)}
    device = make_device(changes, patience_s=1.0)
    job = push(device, tmp_path)
    try:
        with pytest.raises(DeviceError, match="out of reach for 1 s"):
            device.run(job, timeout_s=LIMIT_S, progress=at_stage("load", sshd.stop))
    finally:
        sshd.start()
    again = make_device(changes)
    result = again.run(push(again, tmp_path, "run-ba9876543210"), timeout_s=LIMIT_S)
    assert "picked up what an earlier run had begun on the board" in result["notes"]
    assert scores(again, result, tmp_path / "back").shape == (3, 4)
    assert (tmp_path / "ran").read_text() == "once\n"


def test_a_killed_runner_is_told_with_its_signal(make_device: Maker, tmp_path: Path) -> None:
    device = make_device()
    job = push(device, tmp_path)
    kill = at_stage("load", lambda: os.kill(runner_of(tmp_path), signal.SIGKILL))
    with pytest.raises(StageError, match="SIGKILL"):
        device.run(job, timeout_s=LIMIT_S, progress=kill)
    assert jobs_there(tmp_path) == []
    assert device.run(job, timeout_s=LIMIT_S)["entries"]["net"]["status"] == "ok"


def test_a_killed_keeper_takes_its_runner_along_and_what_it_owed_is_done(
    make_device: Maker, tmp_path: Path
) -> None:
    device = make_device({"after": (("touch", str(tmp_path / "put-back")),)})
    job = push(device, tmp_path)
    with pytest.raises(StageError, match="was killed"):
        device.run(job, timeout_s=LIMIT_S, progress=at_stage("load", lambda: kill_keeper(tmp_path)))
    assert (tmp_path / "put-back").exists()


def test_a_board_that_restarts_measures_anew_and_says_so(make_device: Maker, tmp_path: Path) -> None:
    """Fake: its processes die and what tells its starts apart changes."""
    boot = tmp_path / "FakeBootId"
    boot.write_text("first")
    device = make_device(boot_id_file=str(boot))
    job = push(device, tmp_path)

    def restart() -> None:
        boot.write_text("second")
        kill_keeper(tmp_path)

    result = device.run(job, timeout_s=LIMIT_S, progress=at_stage("load", restart))
    assert "the board restarted during the measurement: measured anew" in result["notes"]
    assert scores(device, result, tmp_path / "back").shape == (3, 4)
    assert jobs_there(tmp_path) == []


@pytest.mark.parametrize("order", ["describe", "clean", "push"])
def test_a_work_folder_that_is_removed_before_anything_is_asked_is_made_again(
    make_device: Maker, tmp_path: Path, order: str
) -> None:
    """Also where only a part of our code is left, as of a removal while it arrived."""
    (tmp_path / "file").write_bytes(b"content")
    device = make_device()
    orders: dict[str, Callable[[], object]] = {
        "describe": device.describe,
        "clean": device.clean,
        "push": lambda: device.push([(tmp_path / "file", "x")]),
    }
    device.describe()
    shutil.rmtree(tmp_path / "there")
    orders[order]()
    device.push([(tmp_path / "file", "y")])
    assert device.pull(["y"], tmp_path / "back")[0].read_bytes() == b"content"
    device.close()
    device.describe()
    for path in (tmp_path / "there").iterdir():
        if path.name != "code":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for program in (tmp_path / "there" / "code").glob("*/board/__main__.py"):
        program.unlink()
    device.close()
    orders[order]()
    device.push([(tmp_path / "file", "z")])
    assert device.pull(["z"], tmp_path / "back")[0].read_bytes() == b"content"


def test_a_work_folder_that_is_removed_is_made_again(make_device: Maker, tmp_path: Path) -> None:
    device = make_device()
    job = push(device, tmp_path)
    remove = at_stage("load", lambda: shutil.rmtree(tmp_path / "there"))
    result = device.run(job, timeout_s=LIMIT_S, progress=remove)
    assert [note for note in result["notes"] if "was removed" in note]
    assert scores(device, result, tmp_path / "back").shape == (3, 4)


def test_two_at_once_measure_one_after_the_other(make_device: Maker, tmp_path: Path) -> None:
    """mkdir fails for a second one while the first measures."""
    inside = str(tmp_path / "inside")
    changes = {"before": (("mkdir", inside), ("sleep", "1")), "after": (("rmdir", inside),)}
    devices = [make_device(changes) for _ in range(2)]
    jobs = [push(device, tmp_path) for device in devices]
    results: list[Any] = [None, None]
    waited: list[str] = []

    def run(index: int) -> None:
        def tell(stage: str, entry: str, *_rest: int) -> None:
            if stage == "wait":
                waited.append(entry)

        results[index] = devices[index].run(jobs[index], timeout_s=LIMIT_S, progress=tell)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    for index in range(2):
        assert scores(devices[index], results[index], tmp_path / f"back-{index}").shape == (3, 4)
        assert not [note for note in results[index]["notes"] if "after the measurement" in note]
    assert waited


def test_ctrl_c_leaves_the_job_and_the_same_job_picks_it_up(make_device: Maker, tmp_path: Path) -> None:
    changes = {"before": (("sh", "-c", f"echo once >> {tmp_path}/ran"),)}
    asked: list[str] = []

    def no(sentence: str) -> bool:
        asked.append(sentence)
        return False

    def interrupt() -> None:
        raise KeyboardInterrupt

    device = make_device(changes, ask=no)
    job = push(device, tmp_path)
    with pytest.raises(KeyboardInterrupt, match="the same command picks it up"):
        device.run(job, timeout_s=LIMIT_S, progress=at_stage("load", interrupt))
    assert len(asked) == 1
    again = make_device(changes)
    job = push(again, tmp_path, "run-ba9876543210")
    result = again.run(job, timeout_s=LIMIT_S)
    assert "picked up what an earlier run had begun on the board" in result["notes"]
    assert scores(again, result, tmp_path / "back").shape == (3, 4)
    assert (tmp_path / "ran").read_text() == "once\n"
    result = again.run(job, timeout_s=LIMIT_S)
    assert not [note for note in result["notes"] if "picked up" in note], "one result was counted twice"


def test_ctrl_c_stops_the_job_where_the_user_says_so(make_device: Maker, tmp_path: Path) -> None:
    put_back = tmp_path / "put-back"
    device = make_device({"after": (("touch", str(put_back)),)}, ask=lambda _sentence: True)
    job = push(device, tmp_path)
    runners: list[int] = []

    def interrupt() -> None:
        runners.append(runner_of(tmp_path))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="was stopped"):
        device.run(job, timeout_s=LIMIT_S, progress=at_stage("load", interrupt))
    assert put_back.exists()
    assert not Path(f"/proc/{runners[0]}").exists()
    assert jobs_there(tmp_path) == []


def test_a_command_before_that_fails_is_the_users_line(make_device: Maker, tmp_path: Path) -> None:
    put_back = tmp_path / "put-back"
    before = (("sh", "-c", "echo no such mode; exit 3"),)
    device = make_device({"before": before, "after": (("touch", str(put_back)),)})
    with pytest.raises(DeviceError, match="exit code 3 no such mode"):
        device.run(push(device, tmp_path), timeout_s=LIMIT_S)
    assert put_back.exists()


def test_a_job_beyond_its_time_is_ended_there(make_device: Maker, tmp_path: Path) -> None:
    device = make_device()
    job = {**push(device, tmp_path), "seconds": 1000.0, "rounds": 5000}
    with pytest.raises(StageError, match="did not finish within 4 s"):
        device.run(job, timeout_s=4.0)
    assert jobs_there(tmp_path) == []


def test_a_lock_that_was_left_behind_is_taken_over_and_said(make_device: Maker, tmp_path: Path) -> None:
    record = {"user": "ada", "edgekit": "0badcafe", "since": "2026-01-01 00:00 UTC"}
    (tmp_path / "edgekit-measure.lock").write_text(json.dumps(record))
    device = make_device()
    result = device.run(push(device, tmp_path), timeout_s=LIMIT_S)
    assert [note for note in result["notes"] if "took over the lock that ada (edgekit 0badcafe" in note]
    assert (tmp_path / "edgekit-measure.lock").read_text() == ""


def test_a_blob_that_the_disk_damaged_travels_again(make_device: Maker, tmp_path: Path) -> None:
    device = make_device()
    job = push(device, tmp_path)
    for blob in (tmp_path / "there" / "blobs").iterdir():
        blob.chmod(0o644)
        blob.write_bytes(b"damaged")
    result = device.run(job, timeout_s=LIMIT_S)
    assert scores(device, result, tmp_path / "back").shape == (3, 4)


def test_messages_say_nothing_of_the_boards_folders(make_device: Maker, tmp_path: Path) -> None:
    device = make_device()
    job = push(device, tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    device.push([(tmp_path / "empty", "run-0123456789ab/0/net.onnx")])
    entry = device.run(job, timeout_s=LIMIT_S)["entries"]["net"]
    assert entry["status"] == "failed"
    assert str(tmp_path) not in entry["cause"]


def test_what_is_measured_there_carries_where(make_device: Maker, tmp_path: Path) -> None:
    model = write_classifier(tmp_path / "net.onnx")
    hashes = (FileHash("net.onnx", sha256_file(model), model.stat().st_size),)
    size = hashes[0].size_bytes
    artifact = Artifact("net", "onnxruntime", str(tmp_path), "net.onnx", hashes, size, 0.0)
    options = MeasureOptions(seconds=0.1, rounds=2)
    measured = measure(make_device(), [artifact], folder=tmp_path / "back", options=options)["net"]
    assert isinstance(measured, Measured)
    assert measured.measurement.origin == "device"
    assert measured.measurement.latency is not None


def test_what_is_no_job_of_the_board_is_refused(tmp_path: Path) -> None:
    jobs = Jobs(str(tmp_path), "/none")
    for name in ("../jobs", "a/b", "", "/etc"):
        with pytest.raises(ValueError, match="no job"):
            jobs.place(name)
