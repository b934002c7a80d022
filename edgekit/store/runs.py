"""The record of runs: an SQLite file that several processes may write at once."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import Interrupted, StoreError
from edgekit.files import is_starved

__all__ = ["Run", "RunEvent", "RunLog", "RunRecord", "RunStatus"]

SCHEMA = 1
BUSY_S = 30.0
SQLITE_BUSY, SQLITE_FULL = 5, 13  # sqlite3.h
RunStatus = Literal["running", "done", "stopped", "failed"]

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, started TEXT NOT NULL, finished TEXT, command TEXT NOT NULL, status TEXT NOT NULL,
    verdict TEXT, target TEXT NOT NULL, seed INTEGER NOT NULL, out TEXT NOT NULL, session TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL REFERENCES runs(id), at TEXT NOT NULL, stage TEXT NOT NULL, key TEXT NOT NULL,
    reused INTEGER NOT NULL, seconds REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_run ON events(run);
"""


class LockedError(StoreError):
    """Another process holds the file for longer than BUSY_S."""


@dataclass(frozen=True)
class RunRecord:
    """One run. Times are ISO 8601 in UTC; `finished` and `verdict` are None until known."""

    id: str
    started: str
    finished: str | None
    command: str
    status: RunStatus
    verdict: str | None
    target: str
    seed: int
    out: str


@dataclass(frozen=True)
class RunEvent:
    """One stage of a run: its key in the store, whether it was reused, how long it took this time."""

    at: str
    stage: str
    key: str
    reused: bool
    seconds: float


class Run:
    """A run being recorded."""

    def __init__(self, log: RunLog, id: str) -> None:
        self.id = id
        self._log = log
        self._open = True
        self._waiting: list[tuple[object, ...]] = []

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if not self._open:
            return
        if kind is None:
            self.finish("done")
        else:
            self.finish("stopped" if issubclass(kind, KeyboardInterrupt | Interrupted) else "failed")

    def event(self, stage: str, key: str, reused: bool, seconds: float) -> None:
        """Record that a stage ended. Reused ones wait for the next write: a rerun has dozens within a second."""
        self._waiting.append((self.id, _now(), stage, key, int(reused), seconds))
        if not reused:
            self._flush()

    def finish(self, status: RunStatus, verdict: str | None = None) -> None:
        """Record how the run ended."""
        self._open = False
        self._flush()
        row = (_now(), status, verdict, self.id)
        self._log.write("UPDATE runs SET finished = ?, status = ?, verdict = ? WHERE id = ?", row)

    def _flush(self) -> None:
        rows, self._waiting = self._waiting, []
        self._log.write_many("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)


class RunLog:
    """The SQLite file. A damaged one is told of, moved aside and begun anew: it is a record, not a result."""

    def __init__(self, path: Path, session: str, tell: Callable[[str], None]) -> None:
        self._path = path
        self._session = session
        self._tell = tell
        self._is_kept = True
        self._prepare()

    def begin(self, command: str, *, target: str, seed: int, out: str) -> Run:
        now = _now()
        run = f"{now[:19].replace('-', '').replace(':', '').replace('T', '-')}-{secrets.token_hex(2)}"
        row = (run, now, None, command, "running", None, target, seed, out, self._session)
        self.write("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return Run(self, run)

    def last(self, limit: int) -> tuple[RunRecord, ...]:
        rows = self._read(
            "SELECT id, started, finished, command, status, verdict, target, seed, out FROM runs "
            "ORDER BY started DESC, rowid DESC LIMIT ?",
            (limit,),
        )
        return tuple(RunRecord(*row) for row in rows)

    def events(self, run: str) -> tuple[RunEvent, ...]:
        rows = self._read(
            "SELECT at, stage, key, reused, seconds FROM events WHERE run = ? ORDER BY rowid", (run,)
        )
        return tuple(
            RunEvent(at, stage, key, bool(reused), seconds) for at, stage, key, reused, seconds in rows
        )

    def mark_stopped(self, sessions: Sequence[str]) -> None:
        """Runs of these sessions did not end in an orderly way."""
        for session in sessions:
            self.write(
                "UPDATE runs SET status = 'stopped' WHERE status = 'running' AND session = ?", (session,)
            )

    def write(self, statement: str, values: Sequence[object]) -> None:
        self.write_many(statement, [values])

    def write_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Where another process locks the file for too long, the rest of the run goes unrecorded, and that is told."""
        if not self._is_kept:
            return
        try:
            with self._connected() as connection:
                connection.executemany(statement, rows)
        except LockedError as error:
            self._is_kept = False
            self._tell(f"{error}: this run goes unrecorded from here on")

    def _read(self, statement: str, values: Sequence[object]) -> list[Any]:
        with self._connected() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction. Raises StoreError for whatever SQLite cannot do."""
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as connection, connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> StoreError:
        came = f"the record of runs {self._path}: {error}"
        code = (
            error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else None
        )  # from Python 3.11 on
        if code == SQLITE_BUSY or "locked" in str(error):
            return LockedError(came)
        if code == SQLITE_FULL or "full" in str(error) or is_starved(self._path.parent):
            remedy = "free some space or give another --store; the same command goes on from there"
            return StoreError(came if "full" in came else f"{came}: the disk is full", remedy=remedy)
        return StoreError(
            came, remedy="move the file away (it is a record, no result), or give another --store"
        )

    def _prepare(self) -> None:
        """Check the file and make its tables, one process at a time."""
        from filelock import FileLock

        with FileLock(self._path.parent / "locks" / "runs.lock"):
            damage = self._damage()
            if damage:
                self._move_aside(damage)
            with self._connected() as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > SCHEMA:
                    raise StoreError(
                        f"{self._path} was written by a newer edgekit (schema {version}, known here: "
                        f"{SCHEMA}): update edgekit or give another --store"
                    )
                if version < SCHEMA:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(f"{TABLES} PRAGMA user_version = {SCHEMA};")

    def _damage(self) -> str:
        """What is wrong with the file, or nothing."""
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise self._told(error) from error
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if answer == "ok" else " ".join(str(answer).split())

    def _move_aside(self, damage: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{secrets.token_hex(3)}")
        for suffix in ("", "-wal", "-shm"):
            old = self._path.with_name(self._path.name + suffix)
            if old.exists():
                old.replace(aside.with_name(aside.name + suffix))
        self._tell(f"the record of runs is damaged ({damage}): begun anew, the old one is {aside}")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
