"""Which files a function reads."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import StageError
from edgekit.opened import FileWatch, digests_now, merged, native_files


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_raw(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.close(handle)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: path.read_bytes(),
        lambda path: open(os.fsencode(path), "rb").close(),
        lambda path: open(os.path.relpath(path)).close(),
        read_raw,
        lambda path: np.load(path),
        lambda path: np.load(path, mmap_mode="r"),
        lambda path: np.fromfile(path, np.uint8),
    ],
)
def test_a_file_that_is_read_is_seen_with_its_digest(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones(3))
    watch = FileWatch()
    watch.around(read)(path)
    assert watch.files == {str(path): sha(path)}


def test_torch_and_a_module_that_is_imported_late_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.ones(3), tmp_path / "w.pt")
    (tmp_path / "late_helper_of_a_loss.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def loss() -> None:
        importlib.import_module("late_helper_of_a_loss")
        torch.load(tmp_path / "w.pt", weights_only=True)

    watch = FileWatch()
    watch.around(loss)()
    assert {Path(path).name for path in watch.files} == {"late_helper_of_a_loss.py", "w.pt"}


def test_what_is_read_outside_written_or_no_file_is_not(tmp_path: Path) -> None:
    log, data = tmp_path / "log", tmp_path / "data"
    data.write_text("1")

    def loss() -> None:
        with log.open("a") as file:
            file.write("line")
        log.read_text()
        Path("/proc/self/statm").read_text()
        Path(os.__file__).read_bytes()
        Path(np.__file__).read_bytes()
        (tmp_path / "gone").write_text("1")
        (tmp_path / "gone").read_text()
        (tmp_path / "gone").unlink()
        assert not (tmp_path / "absent").exists()

    watch = FileWatch()
    watched = watch.around(loss)
    data.read_text()
    watched()
    watched()
    assert watch.files == {}


def test_a_file_with_two_contents_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    watch = FileWatch()
    watched = watch.around(path.read_text)
    watched()
    path.write_text("22")
    with pytest.raises(StageError, match="data was changed while training read it"):
        watched()
    with pytest.raises(StageError):
        merged({"a": "1"}, {"a": "2"})


def test_what_a_live_function_has_read_before_counts_again(tmp_path: Path) -> None:
    path, kept = tmp_path / "data", list[str]()
    path.write_text("1")

    def loss() -> None:
        if not kept:
            kept.append(path.read_text())

    FileWatch().around(loss)()
    second = FileWatch()
    second.around(loss)()
    assert second.files == {str(path): sha(path)}


def test_what_is_not_there_has_no_digest(tmp_path: Path) -> None:
    assert digests_now([str(tmp_path), str(tmp_path / "absent")]) == dict.fromkeys(
        [str(tmp_path), str(tmp_path / "absent")], ""
    )


def test_files_that_a_source_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").mkdir()
    for name in ("w.safetensors", "code/beside.h5", "code/data.npy"):
        (tmp_path / name).write_bytes(b"x")
    source = tmp_path / "code" / "loss.py"
    source.write_text('A = ["w.safetensors", "beside.h5", "data.npy", "absent.h5", b"x.h5", "\\0.h5", 3]\n')
    assert native_files([source]) == (tmp_path / "code" / "beside.h5", tmp_path / "w.safetensors")
