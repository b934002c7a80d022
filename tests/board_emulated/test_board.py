"""The emulated board itself: that it is one, that its runtimes agree with this machine's, and its faults."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgekit.board
from tests.board_emulated.board import BoardTrouble, EmulatedBoard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
"""The first one may wait for the board's root to be made."""

FOLDER = Path(edgekit.board.__file__).parent
SAMPLES = 16
TOLERANCE_LSB = 2
"""int8 kernels round differently on x86 and Arm: ±1 to 2 steps of the output were seen."""


def place_board_code(board: EmulatedBoard, folder: Path) -> None:
    code = folder / "board"
    code.mkdir()
    for file in FOLDER.rglob("*.py"):
        place = code / file.relative_to(FOLDER)
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_bytes(file.read_bytes())
    board.upload(code)


@pytest.fixture
def equipped(emulated_board: EmulatedBoard, tmp_path: Path) -> EmulatedBoard:
    """With edgekit's board folder in the home of its user."""
    emulated_board.delete("/home/board/board")
    place_board_code(emulated_board, tmp_path)
    return emulated_board


def test_a_board_describes_itself_as_arm64_with_its_runtimes(equipped: EmulatedBoard) -> None:
    told = equipped.ssh("python3 -m board describe")
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["arch"] == "aarch64"
    assert facts["machine"].startswith("Raspberry Pi 4")
    assert {"fp", "asimd"} <= set(facts["features"])
    assert {"litert", "onnxruntime"} <= set(facts["runtimes"])
    assert {"ai-edge-litert", "numpy", "onnxruntime"} <= set(facts["versions"])


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_int8_outputs_are_this_machines_within_two_steps(
    runtime: str, equipped: EmulatedBoard, tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch" if runtime == "litert" else "onnxruntime")
    job, step = make_job(runtime, tmp_path / "job")
    equipped.delete("/home/board/job")
    equipped.upload(job)
    done = equipped.ssh("python3 -m board run job/job.json", timeout_s=240)
    assert done.returncode == 0, done.stderr
    told = json.loads(equipped.ssh("cat job/result.json").stdout)["entries"]["net"]
    assert told["status"] == "ok", told
    subprocess.run(
        [sys.executable, str(FOLDER), "run", str(job / "job.json")], check=True, capture_output=True
    )
    own = json.loads((job / "result.json").read_text())["entries"]["net"]
    here = np.load(job / own["outputs"]["scores"])
    there = there_read(equipped, f"job/{told['outputs']['scores']}", tmp_path)
    assert here.shape == there.shape == (SAMPLES, 5)
    assert np.ptp(here) > 20 * step  # else two steps would be no demand
    assert np.abs(here - there).max() <= (TOLERANCE_LSB + 0.01) * step


def make_job(runtime: str, folder: Path) -> tuple[Path, float]:
    """An int8 network as a job that is not timed; with the step of its output."""
    from edgekit.backends import get_backend
    from edgekit.testing.exports import Exports
    from edgekit.testing.onnx_networks import INPUT, samples

    class Made(Exports):
        recipe = "int8-minmax"

        def make_backend(self):  # type: ignore[no-untyped-def]
            return get_backend(runtime)  # type: ignore[arg-type]

    folder.mkdir()
    artifact = Made()._export(folder)
    np.save(folder / "pixels.npy", samples(SAMPLES, 5))
    path = (Path(artifact.folder) / artifact.entry).relative_to(folder)
    entry = {
        "id": "net", "runtime": runtime, "path": str(path), "options": dict(artifact.options),
        "evaluate": {"inputs": {INPUT: "pixels.npy"}, "outputs": "outputs"},
    }  # fmt: skip
    job = {"schema": 1, "seed": 0, "threads": 1, "cpus": None, "rounds": 1, "seconds": 0, "entries": [entry]}
    (folder / "job.json").write_text(json.dumps(job))
    return folder, output_step(folder / path)


def output_step(model: Path) -> float:
    """The real value of one integer step of the output."""
    if model.suffix == ".tflite":
        from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops

        last_op = next(
            op for op in reversed(read_ops(read_flatbuffer(model))) if op.outputs[0].shape == (1, 5)
        )
        assert last_op.kind == "DEQUANTIZE", last_op.kind
        return last_op.inputs[0].scale[0]
    import onnx

    network = onnx.load(model)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    output = network.graph.output[0].name
    last = next(node for node in network.graph.node if output in node.output)
    assert last.op_type == "DequantizeLinear", last.op_type
    return float(constants[last.input[1]])


def there_read(board: EmulatedBoard, path: str, folder: Path) -> NDArray[np.float32]:
    local = folder / "there.npy"
    board.download(path, local)
    array: NDArray[np.float32] = np.load(local)
    return array


def test_a_cut_link_answers_nobody_and_comes_back(emulated_board: EmulatedBoard) -> None:
    emulated_board.cut_link()
    with pytest.raises(BoardTrouble):
        emulated_board.wait_for_sshd(timeout_s=3)
    emulated_board.restore_link()
    emulated_board.wait_for_sshd()
    assert emulated_board.ssh("echo back").stdout == "back\n"


def test_a_frozen_board_goes_on_where_it_stood(emulated_board: EmulatedBoard) -> None:
    emulated_board.freeze()
    with pytest.raises(subprocess.TimeoutExpired):
        emulated_board.ssh("true", timeout_s=3)
    emulated_board.thaw()
    assert emulated_board.ssh("echo thawed").stdout == "thawed\n"


def test_what_is_detached_outlives_sshd_but_no_reboot(emulated_board: EmulatedBoard) -> None:
    started = emulated_board.ssh("setsid sleep 345678 > /dev/null 2>&1 < /dev/null &")
    assert started.returncode == 0, started.stderr
    emulated_board.kill_sshd()
    assert any("sleep 345678" in words for _, words in emulated_board.processes())
    emulated_board.start_sshd()
    emulated_board.ssh("echo kept > kept; echo lost > /tmp/lost")
    emulated_board.reboot(tells=False)
    assert not any("sleep 345678" in words for _, words in emulated_board.processes())
    assert emulated_board.ssh("cat kept; ls /tmp").stdout == "kept\n"


def test_a_full_disk_takes_nothing_until_it_is_freed(emulated_board: EmulatedBoard) -> None:
    assert emulated_board.fill_disk() == 0
    assert "No space left" in emulated_board.ssh("echo text > full").stderr
    emulated_board.free_disk()
    assert emulated_board.ssh("echo text > full && cat full").stdout == "text\n"


def test_another_host_key_and_a_refused_user_key_are_noticed(emulated_board: EmulatedBoard) -> None:
    emulated_board.change_host_key()
    assert "HOST IDENTIFICATION HAS CHANGED" in emulated_board.ssh("true").stderr
    emulated_board.know_host_key()
    emulated_board.refuse_key()
    assert "Permission denied" in emulated_board.ssh("true").stderr
    emulated_board.accept_key()
    assert emulated_board.ssh("echo in", user="root").stdout == "in\n"


KILLED = """
import os, signal, sys
from tests.board_emulated import EmulatedBoard
board = EmulatedBoard().start()
print(board.folder, board._spec()["link"], *(pid for pid, _ in board.processes()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_a_board_whose_tests_were_killed(running_board: EmulatedBoard) -> None:
    """No process, no network, no mount, no folder."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    folder, link, *pids = done.stdout.split()
    assert pids

    def left() -> list[str]:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        things = [f"/proc/{pid}" for pid in pids] + [folder, f"/sys/class/net/{link}"]
        mounts = Path("/proc/mounts").read_text()
        return [thing for thing in things if Path(thing).exists()] + [
            text for text in (folder, link) if text in mounts or text in links
        ]

    wait_until_empty(left)


def wait_until_empty(left: Callable[[], list[str]]) -> None:
    deadline = time.monotonic() + 20
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left() == []
