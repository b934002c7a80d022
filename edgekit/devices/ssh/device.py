"""A board over SSH, as a device: nothing is installed there but a folder of our own."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.board.booted import BOOT_ID
from edgekit.devices.address import Address
from edgekit.devices.base import JobProgress
from edgekit.devices.ssh.arriving import check_ready
from edgekit.devices.ssh.following import Follower, Placed
from edgekit.devices.ssh.link import Link, Place
from edgekit.devices.ssh.packing import Parcel, PushedFile, checked_name, pack_job, read_pushed
from edgekit.devices.ssh.pushing import bring, refused
from edgekit.devices.ssh.reaching import Reach
from edgekit.devices.ssh.results import fetch_checked, read_result
from edgekit.devices.ssh.trouble import RemoteProblem
from edgekit.errors import OutputError, StageError
from edgekit.types import Origin

__all__ = ["SshDevice"]

PATIENCE_S = 600.0
KEPT_S = 30 * 24 * 3600.0
INTERRUPT_PATIENCE_S = 20.0


class SshDevice:
    """A board over SSH. It connects when first asked, and again whenever the link is lost.

    `work` is a folder of this machine for what comes back; it is made if absent. `patience_s`: how long a board that
    was reached once may be out of reach before a call gives up; its job goes on there meanwhile. `tell` hears
    sentences on what takes its time outside of `run`, which has its own progress; "" when it is over.

    On Ctrl-C in `run`, `ask` is called with a sentence and says whether the board's job is to be stopped; without it
    `stops_on_interrupt` decides. A job that is left running is picked up by the same job's next `run`.
    `lock_folder` and `boot_id_file` lie on the board.

    Every method raises DeviceError, in one line, for a board that cannot be reached or used.
    """

    def __init__(
        self,
        address: Address,
        work: Path,
        *,
        patience_s: float = PATIENCE_S,
        tell: Callable[[str], None] | None = None,
        ask: Callable[[str], bool] | None = None,
        stops_on_interrupt: bool = False,
        lock_folder: str = "/tmp",
        boot_id_file: str = BOOT_ID,
    ) -> None:
        self.address = address
        self.work = Path(work)
        self._tell = tell or (lambda _sentence: None)
        self._reach = Reach(address, Place(lock_folder, boot_id_file), patience_s, self._tell)
        self._ask = ask or (lambda _sentence: stops_on_interrupt)
        self._pushed: dict[str, PushedFile] = {}
        self._fetched: dict[str, Path] = {}
        self._emulated: bool | None = None
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the work folder {work}: {error.strerror}") from error

    @property
    def name(self) -> str:
        return self.address.name

    @property
    def is_here(self) -> bool:
        return False

    @property
    def origin(self) -> Origin:
        """`emulated` where another processor plays the board's."""
        if self._emulated is None:
            self.describe()
        return "emulated" if self._emulated else "device"

    def describe(self) -> Mapping[str, Any]:
        """What the board says of itself: `board/machine.py`, run there."""
        with self._telling():
            facts = self._reach.keep_at(lambda link: link.ask("describe"))
        self._emulated = bool(facts["emulated"])
        return facts

    def check(self) -> None:
        """Raises DeviceError where the board can be reached and nothing can be measured on it."""
        self._reach.keep_at(lambda link: check_ready(link.greeting, self.address))

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        """Bring files to the board, those only whose content is not there yet."""
        pushed = read_pushed(files)
        self.check()
        with self._telling():
            bring(self._reach, pushed.values())
        self._pushed.update(pushed)
        for name in pushed:
            self._fetched.pop(name, None)

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        """Copy what was pushed, or what a job wrote, into `folder`. Raises StageError for other names."""
        pulled = []
        for name in map(checked_name, names):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in self._fetched:
                shutil.copyfile(self._fetched[name], target)
            elif name in self._pushed:
                digest = self._pushed[name].digest
                fetch_checked(self._reach, f"blobs/{digest}", digest, target)
            else:
                raise StageError("measure", f"there is no {name} on {self.name}")
            pulled.append(target)
        return tuple(pulled)

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        """Run one job on the board, and give its result.

        Raises StageError with the runner's last words when it dies, or when it does not end within `timeout_s`, the
        time that it waited for its turn not counted; DeviceError when the board's disk is full, or the board is out
        of reach for too long; KeyboardInterrupt with a sentence that says what became of the job.
        """
        self.check()
        self.clean()
        parcel = pack_job(job, self._pushed, self.address)
        follower = Follower(self._reach, parcel, timeout_s, progress or (lambda *_all: None))
        try:
            with self._telling():
                ended = follower.follow()
                return self._take(follower.placed, ended, parcel)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted(follower.placed)) from None
        finally:
            self._reach.told = self._tell

    def _take(self, placed: Placed | None, ended: Mapping[str, Any], parcel: Parcel) -> Mapping[str, Any]:
        """The result and the outputs brought here; only then the board forgets the job."""
        assert placed is not None
        folder = self.work / "fetched" / placed.name
        for name, _size, digest in ended["outputs"]:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            fetch_checked(self._reach, f"jobs/{placed.name}/files/{name}", digest, target)
            self._fetched[checked_name(parcel.caller_name(name))] = target
        raw = json.loads((folder / "result.json").read_bytes())
        result = read_result(raw, parcel, self.address, (*ended.get("notes", ()), *placed.notes))
        self._reach.keep_at(lambda link: link.ask("end", name=placed.name, token=placed.token))
        return result

    def _interrupted(self, placed: Placed | None) -> str:
        """Leave the job or stop it, as the user says. Gives the sentence that tells him."""
        self._reach.drop()
        if placed is None:
            return f"nothing was begun on {self.name}"
        goes_on = f"the measurement goes on on {self.name}; the same command picks it up"
        if self._ask(f"{goes_on}. Stop it there?"):
            return f"the measurement on {self.name} was {'stopped' if self.stop(placed) else 'not stopped'}"
        with contextlib.suppress(Exception):  # it counts as left after a while, released or not
            self._reach.keep_at(
                lambda link: link.ask("release", name=placed.name, token=placed.token), INTERRUPT_PATIENCE_S
            )
        return goes_on

    def stop(self, placed: Placed) -> bool:
        """End a job on the board; its commands after a measurement run. Gives whether it has ended."""

        def end(link: Link) -> bool:
            stopped = bool(link.ask("stop", name=placed.name)["stopped"])
            if stopped:
                link.ask("end", name=placed.name, token=placed.token)
            return stopped

        try:
            return self._reach.keep_at(end, INTERRUPT_PATIENCE_S)
        except Exception:  # noqa: BLE001 (told as not stopped)
            return False

    def clean(self, *, older_than_s: float = KEPT_S, most_bytes: int = 1 << 62) -> int:
        """Remove files on the board that were not used for so long, then the oldest beyond so many bytes.

        Running jobs stay. Gives the bytes that were freed.
        """
        with self._telling():
            answer = self._reach.keep_at(
                lambda link: link.ask("clean", older_than_s=older_than_s, most_bytes=most_bytes)
            )
        return int(answer["freed_bytes"])

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """What the board could not do is told as the user's line."""
        try:
            yield
        except RemoteProblem as problem:
            raise refused(problem, self._reach) from problem

    def close(self) -> None:
        """End the connection; the next call makes another."""
        self._reach.drop()
