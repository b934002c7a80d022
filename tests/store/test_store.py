"""The store: the finished is reused, the damaged is told of and made again, nothing is half there."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import Interrupted, OutputError, StoreError
from edgekit.store import Store, StoreEntry, entry_key


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def writes(content: bytes = b"weights", **meta: Any) -> Callable[[Path], Mapping[str, Any]]:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "sub").mkdir()
        (folder / "sub" / "model.bin").write_bytes(content)
        return meta

    return make


def never(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("it should have been reused")


def temporary(store: Store) -> list[Path]:
    return [path for path in (store.folder / "temp").rglob("*") if path.is_file() and path.suffix != ".lock"]


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], stdout=subprocess.PIPE, text=True
    )


# Keys


def test_the_key_does_not_depend_on_the_order_of_the_parts() -> None:
    assert entry_key("s", {"a": 1, "b": {"c": 2, "d": 3}}) == entry_key("s", {"b": {"d": 3, "c": 2}, "a": 1})


def test_the_key_depends_on_the_stage_and_on_every_part() -> None:
    keys = {
        entry_key("s", {"a": 1}),
        entry_key("t", {"a": 1}),
        entry_key("s", {"a": 2}),
        entry_key("s", {"a": "1"}),
        entry_key("s", {"b": 1}),
        entry_key("s", {"a": [1]}),
    }
    assert len(keys) == 6


@dataclass(frozen=True)
class Config:
    steps: int
    names: frozenset[str]


def test_dataclasses_and_sets_can_be_parts() -> None:
    one = entry_key("s", {"c": Config(3, frozenset("abcdef"))})
    assert one == entry_key("s", {"c": Config(3, frozenset("fedcba"))})
    assert one != entry_key("s", {"c": Config(4, frozenset("abcdef"))})


@pytest.mark.parametrize("part", [float("nan"), float("inf"), {1: "a"}, object(), Path("x"), 1j])
def test_parts_that_json_cannot_hold_are_refused(part: object) -> None:
    with pytest.raises(TypeError):
        entry_key("s", {"part": part})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.dictionaries(st.text(max_size=3), JSON, max_size=3)


@given(PARTS, PARTS)
def test_keys_are_equal_exactly_when_the_parts_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (entry_key("s", one) == entry_key("s", other)) == same


# Making and reusing


def test_a_finished_stage_is_reused(store: Store) -> None:
    first = store.entry("train", {"seed": 1}, writes(b"abc", accuracy=0.5, steps=[1, 2]))
    again = store.entry("train", {"seed": 1}, never)
    assert (first.reused, again.reused) == (False, True)
    assert first.meta == again.meta == {"accuracy": 0.5, "steps": [1, 2]}
    assert first.path == again.path
    assert (again.path / "sub" / "model.bin").read_bytes() == b"abc"
    assert first.seconds == again.seconds


def test_another_part_makes_another_entry(store: Store) -> None:
    one = store.entry("train", {"seed": 1}, writes(b"1"))
    two = store.entry("train", {"seed": 2}, writes(b"2"))
    assert one.path != two.path
    assert not two.reused


def test_a_stage_may_leave_no_files_at_all(store: Store) -> None:
    store.entry("measure", {}, lambda folder: {"p90": 1.5})
    assert store.entry("measure", {}, never).meta == {"p90": 1.5}


def test_meta_is_the_same_when_made_and_when_reused(store: Store) -> None:
    made = store.entry("s", {}, lambda folder: {"pair": (1, 2), "config": Config(1, frozenset({"a"}))})
    assert (
        made.meta
        == store.entry("s", {}, never).meta
        == {
            "pair": [1, 2],
            "config": {"steps": 1, "names": ["a"]},
        }
    )


def test_paths_into_the_entry_come_back_as_where_the_files_are(store: Store, tmp_path: Path) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "m.onnx").write_bytes(b"x")
        return {"folder": str(folder), "files": [str(folder / "m.onnx")], "other": "/etc"}

    made = store.entry("s", {}, make)
    assert made.meta == {"folder": str(made.path), "files": [str(made.path / "m.onnx")], "other": "/etc"}
    store.close()
    moved = tmp_path / "moved"
    store.folder.rename(moved)
    with Store.open(moved) as other:
        entry = other.entry("s", {}, never)
    assert Path(entry.meta["files"][0]).read_bytes() == b"x"
    assert entry.path.is_relative_to(moved)


def test_when_making_fails_nothing_stays_and_the_error_passes_through(store: Store) -> None:
    def fails(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.entry("s", {}, fails)
    assert temporary(store) == []
    assert not store.entry("s", {}, writes()).reused


def test_a_link_is_not_stored(store: Store) -> None:
    def links(folder: Path) -> Mapping[str, Any]:
        (folder / "passwd").symlink_to("/etc/passwd")
        return {}

    with pytest.raises(StoreError, match="passwd is a link"):
        store.entry("s", {}, links)


@pytest.mark.parametrize("key", ["../../etc", "", "a" * 63, "A" * 64, "/" + "a" * 63])
def test_a_scratch_folder_needs_a_real_key(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        store.scratch(key)


def test_scratch_lasts_until_the_entry_is_done(store: Store) -> None:
    key = store.key("train", {})

    def stops(folder: Path) -> Mapping[str, Any]:
        (store.scratch(key) / "step").write_text("7")
        raise Interrupted("stopped")

    def resumes(folder: Path) -> Mapping[str, Any]:
        return {"from": int((store.scratch(key) / "step").read_text())}

    with pytest.raises(Interrupted):
        store.entry("train", {}, stops)
    assert store.entry("train", {}, resumes).meta == {"from": 7}
    assert list((store.folder / "scratch").iterdir()) == []


# Damage


def damage_bit(entry: StoreEntry) -> None:
    path = entry.path / "sub" / "model.bin"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def damage_missing(entry: StoreEntry) -> None:
    (entry.path / "sub" / "model.bin").unlink()


def damage_added(entry: StoreEntry) -> None:
    (entry.path / "extra.txt").write_text("x")


def damage_meta(entry: StoreEntry) -> None:
    path = entry.path.parent / "meta.json"
    path.write_text(path.read_text().replace('"score": 1', '"score": 2'))


def damage_meta_cut(entry: StoreEntry) -> None:
    path = entry.path.parent / "meta.json"
    path.write_bytes(path.read_bytes()[:50])


def damage_meta_gone(entry: StoreEntry) -> None:
    (entry.path.parent / "meta.json").unlink()


def damage_link(entry: StoreEntry) -> None:
    path = entry.path / "sub" / "model.bin"
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def damage_swapped(entry: StoreEntry) -> None:
    entry.path.parent.rename(entry.path.parent.with_name("aside"))
    entry.path.parent.write_text("not a folder")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_bit, "sub/model.bin was changed"),
        (damage_missing, "sub/model.bin is missing"),
        (damage_added, "extra.txt was added"),
        (damage_meta, "meta.json was changed"),
        (damage_meta_cut, "meta.json cannot be read"),
        (damage_meta_gone, "meta.json is missing"),
        (damage_link, "is a link"),
        (damage_swapped, "meta.json cannot be read"),
    ],
)
def test_a_damaged_entry_is_told_of_and_made_again(
    store: Store, damage: Callable[[StoreEntry], None], told: str
) -> None:
    damage(store.entry("train", {}, writes(score=1)))
    again = store.entry("train", {}, writes(b"made again", score=1))
    assert not again.reused
    assert (again.path / "sub" / "model.bin").read_bytes() == b"made again"
    assert len(store.warnings) == 1
    assert told in store.warnings[0]
    assert "train" in store.warnings[0]
    assert store.entry("train", {}, never).reused
    assert temporary(store) == []


def test_a_recorded_name_that_leads_out_of_the_entry_is_damage(store: Store) -> None:
    import hashlib

    from edgekit.store.keys import canonical_json

    entry = store.entry("s", {}, writes())
    path = entry.path.parent / "meta.json"
    body = json.loads(path.read_text())["body"]
    body["files"][0]["path"] = "../../../../runs.sqlite"
    digest = hashlib.sha256(canonical_json(body)).hexdigest()
    path.write_text(json.dumps({"digest": digest, "body": body}))
    assert not store.entry("s", {}, writes()).reused
    assert "leads out of the entry" in store.warnings[0]


def test_warnings_are_also_called_out(tmp_path: Path) -> None:
    lines: list[str] = []
    with Store.open(tmp_path / "s", lines.append) as store:
        damage_bit(store.entry("train", {}, writes()))
        store.entry("train", {}, writes())
        assert lines == store.warnings


# The disk


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be written: .*; give --store DIR"):
        Store.open(tmp_path / "file" / "store")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        Store.open(tmp_path / "store")


def test_a_full_disk_is_one_clear_line_and_leaves_nothing_half_written(store: Store) -> None:
    def too_much(folder: Path) -> Mapping[str, Any]:
        (folder / "big").write_bytes(bytes(100_000))
        return {}

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"free some space or give another --store") as caught:
            store.entry("s", {}, too_much)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert temporary(store) == []
    assert not store.entry("s", {}, writes()).reused


def test_a_disk_that_really_is_full_is_told(small_disk: Path) -> None:
    with Store.open(small_disk / "store") as store:
        small = store.entry("small", {}, writes(bytes(1000)))
        with pytest.raises(StoreError, match="No space left on device while writing"):
            store.entry("s", {}, writes(bytes(2_000_000)))
        assert temporary(store) == []
        assert store.entry("small", {}, never).path == small.path


def test_an_error_that_is_not_about_space_is_left_alone(store: Store) -> None:
    def missing(folder: Path) -> Mapping[str, Any]:
        return {"text": (folder / "nothing").read_text()}

    with pytest.raises(FileNotFoundError):
        store.entry("s", {}, missing)


# Processes

MAKE_SLOWLY = """
import sys, time
from pathlib import Path
from edgekit.store import Store
store = Store.open(sys.argv[1])
def make(folder):
    (folder / "model.bin").write_bytes(b"x" * 1000)
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    print("making", flush=True)
    time.sleep(float(sys.argv[3]))
    return {"by": "anyone"}
print("opened", flush=True)
entry = store.entry("train", {"seed": 1}, make)
print("reused" if entry.reused else "made", flush=True)
"""


def test_of_two_runs_at_once_one_makes_and_the_other_reuses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    runs = [child(MAKE_SLOWLY, str(tmp_path / "store"), str(log), "0.5") for _ in range(2)]
    outputs = sorted(run.communicate(timeout=60)[0].split()[-1] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert outputs == ["made", "reused"]
    assert log.read_text() == "made\n"


def _many_entries(folder: str, seed: int) -> None:
    with Store.open(folder) as store, store.begin_run("build", target="t", seed=seed) as run:
        for number in range(20):
            entry = store.entry("s", {"n": number % 10}, lambda path: {"n": 1})
            run.event("s", entry.key, entry.reused, 0.0)


def test_processes_at_once_leave_a_whole_record(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    folder = str(tmp_path / "store")
    workers = [context.Process(target=_many_entries, args=(folder, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Store.open(folder) as store:
        runs = store.last_runs()
        assert sorted(run.seed for run in runs) == [0, 1, 2]
        assert {run.status for run in runs} == {"done"}
        events = [event for run in runs for event in store.events(run.id)]
        assert len(events) == 60
        assert sum(not event.reused for event in events) == 10
        assert store.warnings == []


def test_after_a_kill_the_next_run_clears_up_and_goes_on_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    killed = child(MAKE_SLOWLY, str(folder), str(tmp_path / "log"), "60")
    assert killed.stdout is not None
    while killed.stdout.readline() != "making\n":
        pass
    assert list((folder / "temp").rglob("model.bin"))
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    started = time.monotonic()
    with Store.open(folder) as store:
        assert not list((folder / "temp").rglob("model.bin"))
        entry = store.entry("train", {"seed": 1}, writes(b"whole"))
    assert not entry.reused
    assert (entry.path / "sub" / "model.bin").read_bytes() == b"whole"
    assert time.monotonic() - started < 30


KILLED_AT_STEP = """
import os, signal, sys
from edgekit.store import Store
store = Store.open(sys.argv[1])
run = store.begin_run("edgekit build", target="t", seed=0)
key = store.key("train", {})
def make(folder):
    scratch = store.scratch(key)
    done = int((scratch / "step").read_text()) if (scratch / "step").exists() else 0
    for step in range(done, 5):
        if step - done == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        (scratch / "step.partial").write_text(str(step + 1))
        os.replace(scratch / "step.partial", scratch / "step")
    (folder / "result").write_text("5 steps")
    return {"resumed_at": done}
print(store.entry("train", {}, make).meta["resumed_at"])
run.finish("done", "MEETS")
"""


def test_a_stage_killed_at_any_step_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    results = []
    for _ in range(3):
        run = child(KILLED_AT_STEP, str(tmp_path / "store"))
        results.append((run.communicate(timeout=60)[0].strip(), run.returncode))
    assert results == [("", -signal.SIGKILL), ("", -signal.SIGKILL), ("4", 0)]
    with Store.open(tmp_path / "store") as store:
        assert [record.status for record in store.last_runs()] == ["done", "stopped", "stopped"]
        assert (store.entry("train", {}, never).path / "result").read_text() == "5 steps"


def test_a_live_run_keeps_its_temporary_files_while_another_opens_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    live = child(MAKE_SLOWLY, str(folder), str(tmp_path / "log"), "1")
    assert live.stdout is not None
    while live.stdout.readline() != "making\n":
        pass
    with Store.open(folder):
        assert list((folder / "temp").rglob("model.bin"))
    assert live.communicate(timeout=30)[0] == "made\n"


def test_a_forked_child_does_not_clear_its_parents_folder(store: Store) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        pid = os.fork()
        if pid == 0:
            store.close()
            os._exit(0)
        os.waitpid(pid, 0)
        (folder / "still").write_text("here")
        return {}

    assert (store.entry("s", {}, make).path / "still").read_text() == "here"


# The record of runs


def test_a_run_is_recorded_with_its_stages(store: Store) -> None:
    with store.begin_run("edgekit build --target t", target="t", seed=3, out="out") as run:
        run.event("train", "k1", False, 12.5)
        run.event("export", "k2", True, 0.1)
        assert store.last_runs()[0].status == "running"
        run.finish("done", "MEETS")
    (record,) = store.last_runs()
    assert (record.id, record.command, record.target, record.seed, record.out) == (
        run.id,
        "edgekit build --target t",
        "t",
        3,
        "out",
    )
    assert (record.status, record.verdict) == ("done", "MEETS")
    assert record.finished is not None
    assert record.finished >= record.started
    assert [(event.stage, event.reused, event.seconds) for event in store.events(run.id)] == [
        ("train", False, 12.5),
        ("export", True, 0.1),
    ]


def test_runs_come_newest_first_and_no_more_than_asked_for(store: Store) -> None:
    ids = [store.begin_run("c", target="t", seed=seed).id for seed in range(4)]
    assert [record.id for record in store.last_runs(2)] == [ids[3], ids[2]]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Interrupted("x"), "stopped"), (KeyboardInterrupt(), "stopped"), (OSError(), "failed")],
)
def test_a_run_that_ends_by_an_error_says_so(store: Store, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), store.begin_run("c", target="t", seed=0):
        raise error
    assert store.last_runs()[0].status == status


def test_a_damaged_record_is_told_of_moved_aside_and_begun_anew(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        entry = store.entry("s", {}, writes())
        store.begin_run("c", target="t", seed=0).finish("done")
    (tmp_path / "s" / "runs.sqlite").write_bytes(b"this is no database at all" * 400)
    with Store.open(tmp_path / "s") as store:
        assert "record of runs is damaged" in store.warnings[0]
        assert store.last_runs() == ()
        store.begin_run("c", target="t", seed=1).finish("done")
        assert store.entry("s", {}, never).path == entry.path
    assert len(list((tmp_path / "s").glob("runs.sqlite.damaged-*"))) >= 1
    with Store.open(tmp_path / "s") as store:
        assert store.warnings == []
        assert [record.seed for record in store.last_runs()] == [1]


def test_a_record_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    Store.open(tmp_path / "s").close()
    with closing(sqlite3.connect(tmp_path / "s" / "runs.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="written by a newer edgekit"):
        Store.open(tmp_path / "s")


def test_git_leaves_the_store_out(store: Store) -> None:
    assert "*" in (store.folder / ".gitignore").read_text().splitlines()
