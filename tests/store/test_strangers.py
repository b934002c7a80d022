"""What a stranger put there stays: every place where edgekit deletes or replaces, filled with files of another."""

from __future__ import annotations

import ast
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekit.board.files import sha256_file
from edgekit.board.tensorrt import kept
from edgekit.board.tensorrt.record import ENGINE, RECORD
from edgekit.bundle.placing import replacing
from edgekit.errors import OutputError, StoreError
from edgekit.store import Store
from tests.source import ROOT

SOURCE = ROOT / "edgekit"
DEAD_PID = 4_000_000  # above the largest that Linux gives


def plant(folder: Path) -> dict[str, str]:
    """A stranger's files, under every name that edgekit itself deletes under; name -> SHA-256."""
    for name in (
        "notes.txt",
        "temp/work/data.bin",
        "temp/0123456789abcdef/data.bin",
        "objects/ab/cd",
        "scratch/a/b",
        "locks/mine.lock",
        "spool/x.npy",
        "settling/mine.txt",
        "0" * 32 + "/model.engine",
        "1" * 32 + "/mine.txt",
        f".bundle.partial-{DEAD_PID}-abcd1234/mine.txt",
        f".bundle.partial-{DEAD_PID}-abcd1234-old/mine.txt",
        f".bundle.partial-{DEAD_PID}-x/mine.txt",
        "job-1.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    return listing(folder)


def listing(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def untouched(folder: Path, before: Mapping[str, str]) -> bool:
    now = listing(folder)
    return all(now.get(name) == digest for name, digest in before.items())


# The store


def test_a_strangers_folder_is_no_store_and_nothing_in_it_is_touched(tmp_path: Path) -> None:
    before = plant(tmp_path)
    with pytest.raises(OutputError, match=r"is not a store of edgekit; give --store DIR") as caught:
        Store.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == before


def test_what_lies_in_a_store_and_is_no_sessions_stays(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    before = plant(tmp_path)
    with Store.open(tmp_path) as store:
        store.entry("s", {}, lambda folder: {})
    assert untouched(tmp_path, before)


def test_a_store_of_before_the_marker_opens_and_gets_it(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.entry("s", {}, lambda folder: {"made": 1})
    (tmp_path / ".edgekit-store").unlink()
    with Store.open(tmp_path) as store:
        assert store.entry("s", {}, lambda folder: {"made": 2}).meta == {"made": 1}
    assert (tmp_path / ".edgekit-store").is_file()


OPENS = "import sys; from edgekit.store import Store; Store.open(sys.argv[1]).close()"


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENS, str(tmp_path / "store")]
    opening = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in opening] == [0, 0, 0, 0]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A stranger's folder that a link leads to; checked at the end."""
    folder = tmp_path / "outside"
    folder.mkdir()
    before = plant(folder)
    yield folder
    assert listing(folder) == before


@pytest.mark.parametrize("name", ["objects", "scratch", "temp", "locks", "spool"])
def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path, outside: Path, name: str) -> None:
    store = tmp_path / "store"
    Store.open(store).close()
    if (store / name).is_dir():
        (store / name).rename(tmp_path / "aside")
    (store / name).symlink_to(outside)
    with pytest.raises(OutputError, match=f"{name} is not a plain folder"):
        Store.open(store)


@pytest.mark.parametrize("name", [".gitignore", "runs.sqlite", "export.log", ".edgekit-store"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_a_link_or_a_pipe_in_the_place_of_a_file_is_refused(
    tmp_path: Path, outside: Path, name: str, kind: str
) -> None:
    store = tmp_path / "store"
    Store.open(store).close()
    (store / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(store / name)
    else:
        (store / name).symlink_to(outside / ("notes.txt" if kind == "link" else "new.txt"))
    with pytest.raises(OutputError, match=f"{name} is not a plain file"):
        Store.open(store)


def test_no_entry_is_written_or_read_through_a_link(tmp_path: Path, outside: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        entry = store.entry("s", {}, lambda folder: {})
        group = entry.path.parent.parent
        group.rename(tmp_path / "aside")
        group.symlink_to(outside)
        with pytest.raises(StoreError, match="is not a plain folder"):
            store.entry("s", {}, lambda folder: {})
        group.unlink()
        group.mkdir()
        entry.path.parent.symlink_to(tmp_path / "aside" / entry.key)
        assert not store.entry("s", {}, lambda folder: {}).reused
        assert "its folder is a link" in store.warnings[0]


def test_no_scratch_and_no_lock_is_a_link(tmp_path: Path, outside: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        key = store.key("s", {})
        (store.folder / "scratch" / key).symlink_to(outside)
        with pytest.raises(StoreError, match="is not a plain folder"):
            store.scratch(key)
        (store.folder / "locks" / f"{key}.lock").symlink_to(outside / "notes.txt")
        with pytest.raises(StoreError, match="is a link or a device"):
            store.entry("s", {}, lambda folder: {})


def test_a_pipe_in_the_place_of_a_stored_file_is_damage_and_does_not_hang(tmp_path: Path) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "model.bin").write_bytes(b"x")
        return {}

    with Store.open(tmp_path / "store") as store:
        for name in ("meta.json", "files/model.bin"):
            place = store.entry("s", {}, make).path.parent / name
            place.unlink()
            os.mkfifo(place)
            assert not store.entry("s", {}, make).reused


# Engines


def engine_record(number: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "library": "tensorrt",
        "version": "10.0",
        "sm": "sm_87",
        "gpu": "a GPU",
        "files": {"model.onnx": f"{number:064x}"},
    }


def keep_engines(folder: Path, count: int) -> list[Path]:
    """Keep engines as a build on the board does; their places, the oldest first."""
    (folder / "own").mkdir()
    engine, record = folder / "own" / ENGINE, folder / "own" / RECORD
    places = []
    for number in range(count):
        engine.write_bytes(secrets.token_bytes(8))
        content = {**engine_record(number), "engine_sha256": sha256_file(engine)}
        record.write_text(json.dumps(content))
        kept.keep_shared(content, str(engine), str(record))
        places.append(Path(kept.shared_place(content)))
        if places[-1].exists():
            os.utime(places[-1], (number, number))
    return places


def test_only_kept_engines_make_room_for_kept_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    before = plant(shared)
    for path in shared.rglob("*"):
        os.utime(path, (0, 0))
    monkeypatch.setenv("EDGEKIT_ENGINES", str(shared))
    monkeypatch.setattr(kept, "SHARED", 2)
    places = keep_engines(tmp_path, 5)
    assert [place.exists() for place in places] == [False, False, False, True, True]
    assert untouched(shared, before)


def test_an_engine_beside_which_a_stranger_put_a_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_ENGINES", str(tmp_path / "shared"))
    (oldest,) = keep_engines(tmp_path, 1)
    (oldest / "notes.txt").write_text("mine")
    os.utime(oldest, (0, 0))
    (tmp_path / "own").rename(tmp_path / "before")
    monkeypatch.setattr(kept, "SHARED", 1)
    keep_engines(tmp_path, 3)
    assert (oldest / "notes.txt").read_text() == "mine"
    assert (oldest / ENGINE).exists()


def test_no_engine_is_kept_through_a_link(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_ENGINES", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    Path(kept.shared_place(engine_record(0))).symlink_to(outside)
    keep_engines(tmp_path, 1)


# The bundle


def test_beside_a_bundle_only_what_a_killed_run_marked_is_cleared(tmp_path: Path) -> None:
    before = plant(tmp_path)
    with replacing(tmp_path / "bundle") as partial:
        (partial / "file").write_text("x")
    assert untouched(tmp_path, before)
    assert (tmp_path / "bundle" / "file").exists()


@pytest.mark.parametrize("manifest", [None, "{}", "[1]", '{"schema": 1}', "[" * 100_000])
def test_a_strangers_folder_is_no_bundle(tmp_path: Path, manifest: str | None) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    plant(folder)
    before = listing(folder)
    with pytest.raises(OutputError, match="is not a bundle of edgekit"), replacing(folder):
        pass
    assert listing(folder) == before


# Every place

DELETING = {"rmtree", "unlink", "remove", "rmdir", "removedirs"}
HELD_HERE = {
    # a place of deletion -> what is deleted there, and what holds it
    "board/arrive.py": "a try and a draft of its own, named by random numbers, in a work folder that it has marked",
    "board/bench.py": "a folder that mkdtemp made",
    "board/blobs.py": "files of the work folder, named by their hash",
    "board/files.py": "a draft that mkstemp made",
    "board/jobs.py": "jobs of the work folder, named by the hash of their content",
    "board/keeper.py": "a draft of the job that it keeps",
    "board/powermodes.py": "the record of the mode that it has put back",
    "board/remote.py": "code of other editions in the work folder",
    "board/selftest.py": "a folder that mkdtemp made",
    "board/tensorrt/engine.py": "an engine of this run that failed its test",
    "board/tensorrt/kept.py": "kept engines: the tests above",
    "board/settle.py": "a folder that mkdtemp made",
    "board/tuned.py": "a tuned.json that proves itself its own by its digest",
    "building/cluster/executor.py": "the folder that the store made for a cluster of its own, and its link to it",
    "building/reading.py": "samples that it wrote for a worker itself",
    "building/variants/qat_job.py": "a checkpoint in the stage's scratch folder",
    "bundle/placing.py": "marked partials: the tests above",
    "compress/pruning/distilling.py": "a checkpoint in the stage's scratch folder",
    "devices/local.py": "files of this run, named by a random number",
    "devices/ssh/results.py": "a partial file of its own work folder",
    "docker/exporting.py": "a partial archive, named by a random number",
    "store/disk.py": "store/store.py's own: the tests above",
    "store/store.py": "sessions, entries and scratch: the tests above",
    "testing/fake_sensors.py": "sensors that it has made up itself",
}


def deleting_files() -> set[str]:
    """Modules that call something that deletes; `list.remove` looks alike and is left out by its argument."""
    return {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in DELETING
        and (node.func.attr != "remove" or ast.unparse(node.func.value) == "os")
    }


def test_every_place_that_deletes_is_known_here() -> None:
    assert deleting_files() == set(HELD_HERE)
