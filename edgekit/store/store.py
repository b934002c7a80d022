"""The folder where stages keep their results.

    objects/ab/KEY/     finished entries: files/ and meta.json
    scratch/KEY/        checkpoints of stages under way; outlive a killed process
    temp/SESSION/       entries being made; SESSION.lock is held while its process lives
    locks/KEY.lock      one stage is made by one process at a time
    runs.sqlite         the record of runs
    .edgekit-store      says whose the folder is: without it nothing is deleted here

Locks are the kernel's (flock): they end with their process, however it ends.
"""

from __future__ import annotations

import os
import re
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import OutputError, StoreError
from edgekit.files import is_full
from edgekit.store.claim import IGNORE, claim_folder, is_plain_file, is_plain_folder
from edgekit.store.content import DamagedError, StoreEntry, read_entry, seal
from edgekit.store.disk import full_disk_told, remove_tree, sync_folder
from edgekit.store.keys import check_key, entry_key
from edgekit.store.runs import Run, RunEvent, RunLog, RunRecord

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["Store"]

SESSION = re.compile(r"[0-9a-f]{16}")


class Store:
    """Open one with `Store.open`. `folder` is absolute; `warnings` tells all that had to be mended."""

    def __init__(
        self, folder: Path, session: str, lock: BaseFileLock, warn: Callable[[str], None] | None
    ) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self._warn = warn
        self._temp = folder / "temp" / session
        self._finalizer = weakref.finalize(self, _close, os.getpid(), self._temp, lock)
        self._runs = RunLog(folder / "runs.sqlite", session, self._tell)

    @classmethod
    def open(cls, path: Path | str, warn: Callable[[str], None] | None = None) -> Store:
        """Open the store, making it if need be, and clear away what killed runs left half-made.

        `warn` is called with every line that also goes to `warnings`, and when another run is waited for.
        Raises OutputError when the folder cannot be written or holds something that is no store, StoreError when
        the disk is full or a newer version made the store.
        """
        folder = Path(path).absolute()
        try:
            claim_folder(folder)
            folder = folder.resolve()
            with suppress(FileExistsError), (folder / ".gitignore").open("x", encoding="utf-8") as file:
                file.write(IGNORE)
            dead = _clear_dead_sessions(folder / "temp")
            session, lock = _begin_session(folder / "temp")
        except OSError as error:
            if is_full(error):
                raise StoreError(f"{error.strerror}: the store {folder} cannot be opened") from error
            raise OutputError(
                f"the store {path} cannot be written: {error.strerror}",
                remedy="give --store DIR, a folder that you may write",
            ) from error
        with full_disk_told(folder):
            store = cls(folder, session, lock, warn)
            store._runs.mark_stopped(dead)
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the private temporary folder. Happens by itself when the process ends in an orderly way."""
        self._finalizer()

    def key(self, stage: str, parts: Mapping[str, object]) -> str:
        """The key of a stage's result: 64 hex digits. Raises TypeError for parts that JSON cannot hold."""
        return entry_key(stage, parts)

    def scratch(self, key: str) -> Path:
        """The folder for a stage's checkpoints. It survives a killed process and goes when the entry is done.

        To be used inside `make` only, where the stage is this process's alone. Nothing vouches for its
        content: a stage writes checkpoints atomically and checks what it finds. Raises ValueError for what is
        not a key.
        """
        folder = self.folder / "scratch" / check_key(key)
        with full_disk_told(self.folder):
            return _own_folder(folder)

    def entry(
        self, stage: str, parts: Mapping[str, object], make: Callable[[Path], Mapping[str, Any]]
    ) -> StoreEntry:
        """The result of a stage: the stored one if it is intact, else a new one.

        `parts` is all that the result depends on (JSON-able; dataclasses and Structs too). `make` gets an
        empty folder to write plain files into and returns the entry's meta (JSON-able; a path into that
        folder comes back as the path where the file lies then). While another process makes the same entry,
        this one waits and then reuses. A damaged entry is told of in `warnings` and made again, never used.

        Whatever `make` raises passes through, and nothing of the entry stays but its scratch folder. Raises
        StoreError when the disk is full.
        """
        key = self.key(stage, parts)
        with full_disk_told(self.folder):
            _own_folder(self._object(key).parent)
        with self._locked(key, stage):
            return self._stored(key, stage) or self._made(key, stage, parts, make)

    def holds(self, stage: str, parts: Mapping[str, object]) -> bool:
        """Whether a result of the stage is there; whether it is intact, `entry` finds out."""
        return self._object(self.key(stage, parts)).is_dir()

    def peek(self, stage: str, parts: Mapping[str, object]) -> StoreEntry | None:
        """The stored result if it is there and intact; nothing is made, mended or told."""
        key = self.key(stage, parts)
        try:
            return read_entry(self._object(key), key)
        except (DamagedError, OSError):
            return None

    def workspace(self, name: str) -> Path:
        """An empty private folder on the store's file system; cleared with this process, also after `kill -9`."""
        folder = self._temp / name
        with full_disk_told(self.folder):
            folder.mkdir(parents=True)
        return folder

    def begin_run(self, command: str, *, target: str, seed: int, out: str = "") -> Run:
        """Record that a run begins. The Run is a context manager: how the block ends is how the run ended."""
        return self._runs.begin(command, target=target, seed=seed, out=out)

    def last_runs(self, limit: int = 20) -> tuple[RunRecord, ...]:
        """The latest runs, newest first."""
        return self._runs.last(limit)

    def events(self, run: str) -> tuple[RunEvent, ...]:
        """The stages of one run, in the order they ended."""
        return self._runs.events(run)

    def _tell(self, line: str) -> None:
        self.warnings.append(line)
        if self._warn is not None:
            self._warn(line)

    def _object(self, key: str) -> Path:
        return self.folder / "objects" / key[:2] / key

    @contextmanager
    def _locked(self, key: str, stage: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        file = self.folder / "locks" / f"{key}.lock"
        if os.path.lexists(file) and not is_plain_file(file):
            raise StoreError(f"{file} is a link or a device: move it away, or give another --store")
        with full_disk_told(self.folder):
            lock = FileLock(file)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if self._warn is not None:
                    self._warn(f"another run is making {stage}: waiting for it")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _stored(self, key: str, stage: str) -> StoreEntry | None:
        folder = self._object(key)
        if not os.path.lexists(folder):
            return None
        try:
            entry = read_entry(folder, key)
            remove_tree(self.folder / "scratch" / key)
            return entry
        except (DamagedError, OSError) as damage:
            self._tell(f"{stage}: its stored result is damaged ({damage}); it is made again ({folder})")
        aside = self._private()
        folder.replace(aside) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
        remove_tree(aside)
        return None

    def _made(
        self, key: str, stage: str, parts: Mapping[str, object], make: Callable[[Path], Mapping[str, Any]]
    ) -> StoreEntry:
        started = time.monotonic()
        private, final = self._private(), self._object(key)
        try:
            with full_disk_told(self.folder):
                (private / "files").mkdir(parents=True)
                meta = make(private / "files")
                seal(private, key, stage, parts, meta, round(time.monotonic() - started, 3))
                private.replace(final)
                sync_folder(final.parent)
        finally:
            remove_tree(private)
        remove_tree(self.folder / "scratch" / key)
        try:
            return replace(read_entry(final, key), reused=False)
        except DamagedError as damage:
            raise StoreError(
                f"{stage}: its result does not read back as written: {damage} ({final})"
            ) from damage

    def _private(self) -> Path:
        """A path for one entry's making; the folder above it is there."""
        self._temp.mkdir(exist_ok=True)
        return self._temp / secrets.token_hex(8)


def _own_folder(folder: Path) -> Path:
    """The folder, made if need be. Raises StoreError for a link in its place: it would be written through."""
    with suppress(FileExistsError):
        folder.mkdir()
    if not is_plain_folder(folder):
        raise StoreError(f"{folder} is not a plain folder: move it away, or give another --store")
    return folder


def _begin_session(temp: Path) -> tuple[str, BaseFileLock]:
    """Lock first, folder second: whoever sees a session's folder finds its lock held or its process dead."""
    from filelock import FileLock

    session = secrets.token_hex(8)
    lock = FileLock(temp / f"{session}.lock", thread_local=False)
    lock.acquire()
    (temp / session).mkdir()
    return session, lock


def _clear_dead_sessions(temp: Path) -> tuple[str, ...]:
    """Remove the temporary folders of processes that are no more; their session names.

    A session's folder has its lock beside it, and a name that nothing else has: other folders are left alone.
    """
    from filelock import FileLock, Timeout

    dead = []
    for folder in sorted(path for path in temp.iterdir() if SESSION.fullmatch(path.name)):
        file = temp / f"{folder.name}.lock"
        if not is_plain_folder(folder) or not is_plain_file(file):
            continue
        try:
            with FileLock(file, timeout=0):
                remove_tree(folder)
                file.unlink(missing_ok=True)
        except (Timeout, PermissionError):  # alive, or another user's
            continue
        dead.append(folder.name)
    return tuple(dead)


def _close(owner: int, temp: Path, lock: BaseFileLock) -> None:
    if os.getpid() != owner:  # a forked child must not clear its parent's folder
        return
    remove_tree(temp)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
