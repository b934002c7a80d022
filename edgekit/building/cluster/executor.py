"""The executor that hands tasks to Ray: a cluster that is there, or one of our own on this machine.

Nothing of Ray is imported here: a process of its own speaks with it (`driver`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edgekit.building.cluster.carried import Request, folders_of, stores_of
from edgekit.building.cluster.driver import Cancel, Done, Joined, Joining, Order
from edgekit.building.worker import ProcessExecutor, command, environment, message_of, read_reply, shorter
from edgekit.errors import MissingExtraError, StageError, UserError
from edgekit.limits import HOURS, MEMORY, worker_limits

if TYPE_CHECKING:
    from edgekit.building.executor import Task

__all__ = ["RayExecutor"]

Answer = TypeVar("Answer")

CPUS, TASK_CPUS = "EDGEKIT_RAY_CPUS", "EDGEKIT_RAY_TASK_CPUS"
CLIENT_PORT = 10001
"""Where a cluster's head answers ray:// (Ray's default)."""

ANSWER_S, CONNECT_S, CLOSE_S = 5.0, 150.0, 30.0
"""For a port to answer; for Ray to connect or start, and each of its workers to say what it is; for it to end."""

DRIVER = "edgekit.building.cluster.driver"


class RayExecutor:
    """The build's end: starts the driver when first needed, and asks it for one task in each thread."""

    def __init__(
        self, log: Path | None = None, address: str = "", workspace: Callable[[], Path] | None = None
    ) -> None:
        """`address`: HOST or HOST:PORT; "": RAY_ADDRESS, else a cluster of our own, whose files go into `workspace`.

        Raises MissingExtraError, and UserError when nobody answers there or a setting is no number.
        """
        self._log = log
        self._address = full_address(address)
        self._workspace = workspace
        self._task_cpus = whole_number(TASK_CPUS, 1)
        self._cpus = max(whole_number(CPUS, usable_cpus()), self._task_cpus)
        worker_limits()
        for package in ("ray", *(["grpc"] if self._address.startswith("ray://") else [])):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "ray")
        refuse_silence(self._address)
        self._here = ProcessExecutor(log)
        self._driver: Driver | None = None
        self._opening = threading.Lock()
        self._closed = False

    @property
    def slots(self) -> int:
        """As many as the cluster has CPUs for."""
        return max(1, int(self._opened().joined.cpus // self._task_cpus))

    def run(self, task: Task[Answer], folder: Path, within_s: float | None = None) -> Answer:
        """See Executor. A task whose key names this machine's CPU is done here: its answer is about that CPU."""
        if "cpu" in task.key_parts():
            return self._here.run(task, folder, within_s)
        driver = self._opened()
        gpus = gpus_of(task, driver.joined)
        message = message_of(task, folder)
        fields = msgspec.json.decode(message.task)
        in_place = tuple(getattr(task, "in_place", ()))
        request = Request(
            message,
            folders_of(fields, in_place),
            in_place,
            () if driver.is_own else stores_of(fields),
            driver.store,
            str(self._log or ""),
            shorter(task.timeout_s, within_s),
            {name: os.environ[name] for name in (MEMORY, HOURS) if name in os.environ},
        )
        done = driver.ask(request, gpus, folder, within_s)
        if self._log is not None and done.log:
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
                log.write(done.log)
        if done.failure is not None:
            raise StageError(task.stage, *done.failure)
        return read_reply(bytes(done.reply), task)

    def close(self) -> None:
        """End every task, and the cluster where it is ours; nothing can be run any more."""
        self._closed = True
        self._here.close()
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    def _opened(self) -> Driver:
        """The driver, connected. Raises UserError when the cluster cannot be used, StageError once this is closed."""
        with self._opening:
            if self._closed:
                raise StageError("ray", "the executor is closed")
            if self._driver is None or not self._driver.lives:
                if self._driver is not None:
                    self._driver.close()
                self._driver = Driver(self._address, self._log, self._workspace, self._cpus, self._task_cpus)
                self._driver.connect()
            return self._driver


class Driver:
    """The process that speaks with Ray, and who waits for which of its answers."""

    def __init__(
        self,
        address: str,
        log: Path | None,
        workspace: Callable[[], Path] | None,
        cpus: int,
        task_cpus: int,
    ) -> None:
        self.is_own = not address
        self.joined = Joined()
        self.store = ""
        self._address = address
        self._folder: Path | None = None
        self._link: Path | None = None
        if self.is_own:
            self._folder, self._link = own_folder(workspace)
            self.store = str(self._folder / "edgekit")
        self._opening = Joining(address, str(self._link or ""), cpus, task_cpus)
        with Path(log or os.devnull).open("ab") as said:
            self._process = subprocess.Popen(
                command(DRIVER),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment(),
                start_new_session=True,  # Ctrl-C is for the build to handle
            )
        self._writing = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[Done | None]] = {}
        self._count = 0
        self.lives = True

    def connect(self) -> None:
        """Wait until Ray is there. Raises UserError, also after CONNECT_S; the process is ended then."""
        where = f"Ray at {self._address}" if self._address else "Ray on this machine"
        self._write(self._opening)
        first: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(first,), daemon=True).start()
        try:
            line = first.get(timeout=CONNECT_S)
        except queue.Empty:
            self.close(within_s=0.0)
            raise UserError(f"{where} did not connect within {CONNECT_S:g} s") from None
        self.joined = msgspec.json.decode(line, type=Joined) if line else Joined(refused="it ended")
        if self.joined.refused:
            self.close()
            remedy = (
                "the same edgekit, Python and packages on every worker; HOST:10001 is where clients connect"
            )
            raise UserError(
                f"{where} cannot be used: {self.joined.refused}", remedy=remedy if self._address else ""
            )

    def ask(self, request: Request, gpus: int, folder: Path, within_s: float | None) -> Done:
        """One task there and back. Raises StageError when the driver ended, or the time did."""
        mailbox: queue.SimpleQueue[Done | None] = queue.SimpleQueue()
        with self._writing:
            self._count += 1
            number = self._count
            self._waiting[number] = mailbox
        stage = request.message.stage
        try:
            self._write({"order": Order(number, request, gpus, str(folder))})
            done = mailbox.get(timeout=within_s)
        except queue.Empty:
            self._write({"cancel": Cancel(number)})
            raise StageError(stage, f"no answer within {within_s:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if done is None:
            raise StageError(stage, "the connection to Ray ended")
        return done

    def close(self, within_s: float = CLOSE_S) -> None:
        """End it, orderly if it does so in time, and whatever it started on this machine."""
        import psutil

        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(self._process.pid).children(recursive=True)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        self._process.kill()
        self._process.wait()
        for process in started:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(started, timeout=CLOSE_S)
        if self._link is not None and self._folder is not None:
            self._link.unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, what: Any) -> None:
        assert self._process.stdin is not None
        with (
            self._writing,
            contextlib.suppress(OSError, ValueError),
        ):  # it ended: the listener tells who waits
            self._process.stdin.write(msgspec.json.encode(what) + b"\n")
            self._process.stdin.flush()

    def _listen(self, first: queue.SimpleQueue[bytes]) -> None:
        """Hand each answer to who waits for it, and nothing to all when there are no more."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            first.put(lines.readline())
            for line in lines:
                done = msgspec.json.decode(line, type=Done)
                mailbox = self._waiting.get(done.number)
                if mailbox is not None:
                    mailbox.put(done)
        self.lives = False
        for mailbox in list(self._waiting.values()):
            mailbox.put(None)


def full_address(address: str) -> str:
    """What Ray takes: ray://HOST:PORT, or what RAY_ADDRESS says. "": a cluster of our own. Raises UserError."""
    if not address:
        return os.environ.get("RAY_ADDRESS", "").strip()
    if re.fullmatch(r"[\w.-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?", address) is None:
        raise UserError(f"ray://{address} is no address", allowed="ray://HOST or ray://HOST:PORT")
    return f"ray://{address}" if re.search(r":\d+$", address) else f"ray://{address}:{CLIENT_PORT}"


def refuse_silence(address: str) -> None:
    """Raises UserError when an address has a host and a port, and nobody answers there within ANSWER_S."""
    place = re.fullmatch(r"(?:ray://)?\[?([^\]/]+?)\]?:(\d+)", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"nobody answers at {address} (asked for {ANSWER_S:g} s): {error}",
            remedy="is the cluster up, and is this the port of its clients (10001)? --executor process needs none",
        ) from error


def gpus_of(task: Task[Any], opened: Joined) -> int:
    """How many GPUs a task declares. Raises StageError for one that the cluster does not have."""
    wanted = getattr(task, "trains_on", "cpu")
    if wanted == "cuda" and opened.gpus < 1:
        raise StageError(task.stage, "the cluster has no GPU", "--train-on cpu")
    return 1 if wanted == "cuda" or (wanted == "auto" and opened.gpus >= 1) else 0


def own_folder(workspace: Callable[[], Path] | None) -> tuple[Path, Path]:
    """Where a cluster of our own keeps its files, and a short link to it: Ray's sockets lie there, and a socket's path
    may have 107 bytes (unix(7))."""
    folder = workspace() if workspace is not None else Path(tempfile.mkdtemp(prefix="edgekit-"))
    short = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    link = short / f"ek-{secrets.token_hex(4)}"
    link.symlink_to(folder)
    return folder, link


def usable_cpus() -> int:
    """Of this machine, by this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def whole_number(name: str, otherwise: int) -> int:
    """An environment variable. Raises UserError for what is no number above 0."""
    text = os.environ.get(name, "").strip()
    if not text:
        return otherwise
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise UserError(f"{name}={text}", allowed="a whole number above 0")
    return int(text)
