"""The machine edgekit runs on, as a device like any other: a fresh runner process, files in a work folder."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgekit.board.files import read_json
from edgekit.board.machine import describe
from edgekit.board.process import command
from edgekit.devices.base import JobProgress
from edgekit.errors import OutputError, StageError
from edgekit.files import full_disk, is_starved, may_write, tells_full
from edgekit.limits import over_memory
from edgekit.types import Origin

if TYPE_CHECKING:
    from edgekit.hardware import Machine

__all__ = ["LocalDevice", "local_machine"]

STDERR_LINES = 5
LOOK_S = 0.2
"""Between two looks at a job's memory: seldom enough not to disturb what is timed."""


def local_machine() -> Machine:
    """What this machine is. Cheap: no runtime is imported."""
    from edgekit.hardware import Machine

    return Machine.from_facts(describe())


class LocalDevice:
    """This machine. `work` holds pushed files and results; it is made if absent, and stays.

    One measurement runs at a time per user and machine, however many builds there are: two at once would
    disturb each other. A waiting one says so through `progress` (stage "wait"). `memory_bytes`: what all processes of a
    job may take together; None sets no limit.
    """

    def __init__(self, work: Path, memory_bytes: int | None = None) -> None:
        self.work = Path(work)
        self._memory_bytes = memory_bytes
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the work folder {work}: {error.strerror}") from error

    @property
    def name(self) -> str:
        return "local"

    @property
    def is_here(self) -> bool:
        return True

    @property
    def origin(self) -> Origin:
        return "host"

    def describe(self) -> Mapping[str, Any]:
        """The board's `describe`, in this process."""
        return describe()

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        """Hard-link files into the work folder, or copy them where the file system cannot link.

        Names are relative and stay inside the folder (ValueError otherwise). An existing name is replaced.
        """
        for path, name in files:
            target = self._place(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
            try:
                os.link(path, part)
            except OSError:
                shutil.copyfile(path, part)
            os.replace(part, target)
            part.unlink(missing_ok=True)  # rename(2) leaves both names where they are one file already

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        """Copy files of the work folder into `folder` under the same names."""
        pulled = []
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.resolve() != self._place(name).resolve():
                shutil.copyfile(self._place(name), target)
            pulled.append(target)
        return tuple(pulled)

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        """Run one job in a fresh process.

        Raises StageError when the runner dies, or exceeds `timeout_s` or its memory, OSError when the disk is full.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(_lock_file())
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress:
                progress("wait", "", 0, 1)
            lock.acquire()
        try:
            return self._run(job, timeout_s, progress)
        finally:
            lock.release()

    def _run(
        self, job: Mapping[str, Any], timeout_s: float, progress: JobProgress | None
    ) -> Mapping[str, Any]:
        stem = f"job-{uuid.uuid4().hex}"
        paths = {kind: self.work / f"{stem}.{kind}" for kind in ("json", "result.json", "log")}
        paths["json"].write_text(json.dumps({**job, "result": paths["result.json"].name}), encoding="utf-8")
        program = command("run", str(paths["json"]), "--parent", str(os.getpid()))
        try:
            with paths["log"].open("w") as log:
                code = _follow(program, log.fileno(), timeout_s, progress, self._memory_bytes)
            if code != 0:
                how = _death(code, timeout_s, paths["log"])
                if tells_full(how) or is_starved(self.work):
                    raise full_disk(self.work)
                raise StageError("measure", how)
            result: dict[str, Any] = read_json(paths["result.json"])
            return result
        finally:
            for path in paths.values():
                path.unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise ValueError(f"{name!r} is not a relative name inside the work folder")
        return self.work / pure


def _lock_file() -> Path:
    """This user's, in a folder that nobody else can have made. Raises OutputError where there is none."""
    from platformdirs import user_cache_path

    user = os.geteuid() if sys.platform != "win32" else 0
    for folder in (user_cache_path("edgekit"), Path(tempfile.gettempdir()) / f"edgekit-{user}"):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = folder / "measure.lock"
            is_own = not folder.is_symlink() and (sys.platform == "win32" or folder.stat().st_uid == user)
            if is_own and may_write(file if file.exists() else folder):
                return file
    raise OutputError(
        f"neither {user_cache_path('edgekit')} nor {folder} is a folder of this user's that can be written",
        remedy="make one of them, or give it back to this user: measurements wait for each other there",
    )


def _follow(
    program: list[str], log: int, timeout_s: float, progress: JobProgress | None, memory_bytes: int | None
) -> int | None:
    """Run the program, hand its progress lines on; gives the exit code, or None when the time is over.

    Raises StageError when it takes more memory.
    """
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector, process.stdout as pipe:
            selector.register(pipe, selectors.EVENT_READ)
            buffer = b""
            while (left_s := deadline - time.monotonic()) > 0:
                over = None if memory_bytes is None else over_memory(process.pid, memory_bytes)
                if over is not None:
                    raise StageError("measure", *over)
                if not selector.select(left_s if memory_bytes is None else min(left_s, LOOK_S)):
                    continue
                chunk = os.read(pipe.fileno(), 1 << 16)
                if not chunk:
                    return process.wait()
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    told = json.loads(line)["progress"]
                    if progress:
                        progress(told["stage"], told["entry"], told["done"], told["total"])
        return None
    finally:
        process.kill()  # its workers follow it: they end with their parent
        process.wait()


def _death(code: int | None, timeout_s: float, log: Path) -> str:
    if code is None:
        return f"the runner did not finish within {timeout_s:.0f} s"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    last = " / ".join(log.read_text(errors="replace").splitlines()[-STDERR_LINES:])
    return f"the runner ended with {how}: {last}" if last else f"the runner ended with {how}"
