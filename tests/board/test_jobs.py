"""Jobs in a work folder: begun once, found again, believed only as long as they may be."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.board.blobs import Blobs, Damaged
from edgekit.board.files import sha256_file
from edgekit.board.jobs import FOLLOWED_S, KEPT_RESULT_S, Jobs, is_alive


def request(name: str, token: str = "mine", **changes: Any) -> dict[str, Any]:
    """One without entries: its runner has nothing to do."""
    job = {"schema": 1, "seconds": 0, "rounds": 1, "entries": []}
    owner = {"user": "ada", "edgekit": "0", "since": "now"}
    whole = {"id": name, "key": name.partition("-")[0], "token": token, "owner": owner, "job": job, "files": {},
             "before": [], "after": [], "timeout_s": 60.0, "fresh": False}  # fmt: skip
    return {**whole, **changes}


def ended(jobs: Jobs, name: str) -> dict[str, Any]:
    for _ in range(600):
        state = jobs.state(name)
        if state["state"] != "running":
            return state
        time.sleep(0.05)
    raise AssertionError("it does not end")


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    (tmp_path / "boot").write_text("first")
    return Jobs(str(tmp_path / "work"), str(tmp_path / "boot"))


def test_asked_twice_it_is_begun_once(jobs: Jobs, tmp_path: Path) -> None:
    """The answer to the first question may have been lost."""
    before = [["sh", "-c", f"echo once >> {tmp_path}/ran"]]
    for _ in range(3):
        assert jobs.start(request("k-1", before=before), str(tmp_path)) == {"id": "k-1", "found": False}
    assert ended(jobs, "k-1")["state"] == "done"
    assert (tmp_path / "ran").read_text() == "once\n"


def test_a_job_is_found_when_its_follower_left_or_fell_silent(jobs: Jobs, tmp_path: Path) -> None:
    jobs.start(request("k-1", before=[["sleep", "2"]]), str(tmp_path))
    assert "followed_s" in jobs.start(request("k-2", "other"), str(tmp_path))
    jobs.release("k-1", "mine")
    assert jobs.start(request("k-3", "other"), str(tmp_path)) == {"id": "k-1", "found": True}
    old = time.time() - FOLLOWED_S - 1
    os.utime(Path(jobs.place("k-1")) / "follower", (old, old))
    assert jobs.start(request("k-4", "third"), str(tmp_path)) == {"id": "k-1", "found": True}
    assert jobs.look("k-1", "other", 0) == {"state": "taken"}
    assert jobs.look("k-1", "third", 0)["state"] == "running"
    jobs.end("k-1", "other")
    assert Path(jobs.place("k-1")).exists(), "one that was taken over ended it"
    assert ended(jobs, "k-1")["state"] == "done"


def test_another_key_is_another_job(jobs: Jobs, tmp_path: Path) -> None:
    jobs.start(request("k-1"), str(tmp_path))
    jobs.release("k-1", "mine")
    assert jobs.start(request("m-1", "other"), str(tmp_path)) == {"id": "m-1", "found": False}
    ended(jobs, "k-1")
    ended(jobs, "m-1")


def test_a_result_that_is_old_or_bad_is_not_found(jobs: Jobs, tmp_path: Path) -> None:
    jobs.start(request("k-1"), str(tmp_path))
    ended(jobs, "k-1")
    jobs.release("k-1", "mine")
    state = Path(jobs.place("k-1")) / "state.json"
    old = time.time() - KEPT_RESULT_S - 60
    os.utime(state, (old, old))
    assert jobs.start(request("k-2", before=[["false"]]), str(tmp_path)) == {"id": "k-2", "found": False}
    assert not state.exists()
    assert ended(jobs, "k-2")["kind"] == "command"
    jobs.release("k-2", "mine")
    assert jobs.start(request("k-3"), str(tmp_path)) == {"id": "k-3", "found": False}
    ended(jobs, "k-3")


def test_progress_comes_as_whole_lines_each_once(jobs: Jobs, tmp_path: Path) -> None:
    jobs.start(request("k-1"), str(tmp_path))
    ended(jobs, "k-1")
    progress = Path(jobs.place("k-1")) / "progress"
    progress.write_bytes(b'{"a": 1}\n{"b": 2}\n{"c"')
    seen = jobs.look("k-1", "mine", 0)
    assert [json.loads(line) for line in seen["progress"]] == [{"a": 1}, {"b": 2}]
    with progress.open("ab") as file:
        file.write(b": 3}\n")
    assert jobs.look("k-1", "mine", seen["next"])["progress"] == ['{"c": 3}']


def test_a_dead_job_of_another_start_of_the_machine_is_told_apart(jobs: Jobs, tmp_path: Path) -> None:
    jobs.start(request("k-1"), str(tmp_path))
    ended(jobs, "k-1")
    (Path(jobs.place("k-1")) / "state.json").unlink()
    while is_alive(jobs.place("k-1")):
        time.sleep(0.02)
    assert jobs.state("k-1")["state"] == "died"
    (tmp_path / "boot").write_text("second")
    assert jobs.state("k-1")["state"] == "rebooted"


def test_what_is_not_there_is_asked_for_and_names_stay_inside(jobs: Jobs, tmp_path: Path) -> None:
    digest = "0" * 64
    assert jobs.start(request("k-1", files={"e/0/net": digest}), str(tmp_path)) == {"missing": [digest]}
    assert not Path(jobs.place("k-1")).exists()
    blobs = Blobs(str(tmp_path / "work"))
    (tmp_path / "content").write_bytes(b"content")
    digest = sha256_file(tmp_path / "content")
    (tmp_path / "content").rename(blobs.path(digest))
    for name in ("../escape", "/absolute", "a/../../b"):
        with pytest.raises(ValueError, match="not a name inside"):
            jobs.start(request("k-1", files={name: digest}), str(tmp_path))
    assert not Path(jobs.place("k-1")).exists()


def test_a_damaged_blob_is_never_used(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    digest = "a" * 64
    Path(blobs.path(digest)).write_bytes(b"something else")
    with pytest.raises(Damaged):
        blobs.place(digest, str(tmp_path / "job" / "net"))
    assert not (tmp_path / "job" / "net").exists()
    assert blobs.missing([digest]) == [digest]


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "/"])
def test_what_is_no_hash_is_no_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256"):
        Blobs(str(tmp_path)).path(digest)


def test_cleaning_takes_the_oldest_first_and_leaves_running_jobs(jobs: Jobs, tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path / "work"))
    for age, name in enumerate(("a", "b", "c")):
        path = Path(blobs.path(name * 64))
        path.write_bytes(b"0123456789")
        os.utime(path, (time.time() - 100 * age, time.time() - 100 * age))
    assert blobs.clean(1e9, 25) == 10
    assert blobs.missing(["a" * 64, "b" * 64, "c" * 64]) == ["c" * 64]
    assert blobs.clean(1e9, 1000) == 0
    jobs.start(request("k-1", before=[["sleep", "1"]]), str(tmp_path))
    assert jobs.clean(0) == 1
    ended(jobs, "k-1")
    assert jobs.clean(1e9) == 0
    assert Path(jobs.place("k-1")).exists()
    jobs.clean(0)
    assert not Path(jobs.place("k-1")).exists()
