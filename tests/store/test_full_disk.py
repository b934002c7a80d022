"""A full disk: one clear line, exit code 2, nothing half-written, and the same command goes on once there is room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.board.arrays import new_array
from edgekit.errors import OutputError, StageError, StoreError
from edgekit.files import is_starved, tells_full
from edgekit.result import save_result, saving_result
from edgekit.store import Store
from edgekit.testing.results import example_result
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork


def test_an_array_takes_its_room_before_its_rows(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        new_array(str(small_disk / "large.npy"), np.float32, (1_000_000, 3))
    (small_disk / "large.npy").unlink()
    rows = new_array(str(small_disk / "small.npy"), np.float32, (1000, 3))
    rows[:] = 1.0
    rows.flush()
    assert np.load(small_disk / "small.npy").sum() == 3000.0


@pytest.mark.parametrize("cause", ["OSError: [Errno 28] No space left on device: 'x'", "died without a word"])
def test_a_stage_that_failed_for_want_of_room_is_told_so(small_disk: Path, cause: str) -> None:
    def fails(folder: Path) -> dict[str, object]:
        if "Errno" not in cause:
            (folder / "filler").write_bytes(bytes(900_000))
        raise StageError("export", cause)

    with Store.open(small_disk / "store") as store:
        with pytest.raises(
            StoreError, match=r"No space left on device while writing to .*; nothing half-written"
        ):
            store.entry("export", {}, fails)
        assert not is_starved(small_disk)


def test_a_stage_that_failed_otherwise_is_left_alone(tmp_path: Path) -> None:
    def fails(folder: Path) -> dict[str, object]:
        raise StageError("export", "no such operator")

    with Store.open(tmp_path / "store") as store, pytest.raises(StageError, match="no such operator"):
        store.entry("export", {}, fails)
    assert not tells_full("no such operator")


def test_a_result_whose_bundle_found_no_room_is_not_written(small_disk: Path) -> None:
    save_result(example_result(seed=1), small_disk / "result.json")
    before = (small_disk / "result.json").read_bytes()
    with (
        pytest.raises(OutputError, match=r"result.json cannot be written: No space left .*; free some space"),
        saving_result(example_result(seed=2), small_disk / "result.json"),
    ):
        (small_disk / "bundle").write_bytes(bytes(2_000_000))
    assert (small_disk / "result.json").read_bytes() == before


@pytest.mark.slow
def test_a_build_on_a_full_disk_goes_on_when_there_is_room(
    digits_network: UserNetwork, tmp_path: Path, mount: Callable[[str, str], Path]
) -> None:
    store = mount("store", "500k")
    arguments = [*build_arguments(digits_network, tmp_path, precision="fp32"), "--no-prune"]
    ended = run(arguments)
    assert ended.returncode == 2, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("edgekit: ")
    assert "space" in last
    assert "Traceback" not in ended.stderr
    subprocess.run(["mount", "-o", "remount,size=60m", str(store)], check=True)
    assert run(arguments).returncode == 0


LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_record_that_another_process_locks_costs_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.store.runs.BUSY_S", 0.1)
    told: list[str] = []
    with Store.open(tmp_path / "store", told.append) as store:
        place = str(tmp_path / "store" / "runs.sqlite")
        command = [sys.executable, "-c", LOCKS, place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            with store.begin_run("edgekit build", target="t", seed=0) as begun:
                begun.event("export", "k" * 64, reused=False, seconds=1.0)
            other.communicate("")
        assert len(told) == 1
        assert "is locked: this run goes unrecorded from here on" in told[0]
