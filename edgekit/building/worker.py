"""The executor of a build: tasks run in a process of its own, so that a runtime that dies takes no build with it.

`main` reads one message a line and answers one line: {"answer": …} or {"failure": {"stage", "cause", "remedy"}}.
It ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edgekit.board.process import die_with_parent
from edgekit.building.executor import as_stage_error
from edgekit.errors import StageError
from edgekit.limits import HOURS, WorkerLimits, over_memory, worker_limits

if TYPE_CHECKING:
    from edgekit.building.executor import Task

__all__ = [
    "Message",
    "ProcessExecutor",
    "command",
    "environment",
    "failed_reply",
    "message_of",
    "read_reply",
    "shorter",
]

Answer = TypeVar("Answer")

LOOK_S = 0.05
"""Between two looks at a worker's memory: in that time a process fills some 200 MB."""

NOTHING = msgspec.Raw(b"null")

# Python puts the working folder first on the path of `-c` (3.11 has -P against it, 3.10 has not). It goes before
# anything is imported: a user's onnx.py beside the model must not stand for the package. edgekit itself is the one
# that the parent runs, wherever that lies.
PROGRAM = """
import sys
sys.path[:] = [place for place in sys.path if place]
from importlib.util import module_from_spec, spec_from_file_location
package = spec_from_file_location("edgekit", sys.argv[1], submodule_search_locations=[sys.argv[2]])
sys.modules["edgekit"] = module_from_spec(package)
package.loader.exec_module(sys.modules["edgekit"])
from importlib import import_module
import_module(sys.argv[3]).main(int(sys.argv[4]))
"""


@dataclass(frozen=True)
class Message:
    """One line to the worker: a task, and the module and class that read it."""

    module: str
    kind: str
    stage: str
    folder: str
    task: msgspec.Raw


@dataclass(frozen=True)
class Broken:
    """What became of a task that failed; the fields of StageError."""

    stage: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class Reply:
    """One line from the worker: the answer, or why there is none."""

    answer: msgspec.Raw
    failure: Broken | None = None


class ProcessExecutor:
    """The parent's end: starts the process when first needed, restarts it after it died."""

    def __init__(self, log: Path | None = None) -> None:
        """`log` keeps what libraries say; without one it is dropped."""
        self._log = log
        self._limits = worker_limits()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def slots(self) -> int:
        """One process, one task."""
        return 1

    def run(self, task: Task[Answer], folder: Path, within_s: float | None = None) -> Answer:
        """Hand over one task and wait. Raises StageError as Executor says."""
        return read_reply(self.relay(message_of(task, folder), shorter(task.timeout_s, within_s)), task)

    def relay(self, message: Message, timeout_s: float | None) -> bytes:
        """The reply to a message, as a line. Raises StageError when the process dies or does not answer in time."""
        return self._ask(msgspec.json.encode(message), message.stage, timeout_s)

    def close(self) -> None:
        """End the process, at once."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):  # a task that a dead process did not read
                self._process.communicate()
            self._process = None

    def _ask(self, message: bytes, stage: str, timeout_s: float | None) -> bytes:
        """One line there, one line back. Raises StageError when the process dies or does not answer in time."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(message + b"\n")
            process.stdin.flush()
            over = wait_for(process, self._limits, timeout_s)
            if over is not None:
                self.close()
                raise StageError(stage, *over)
            line = process.stdout.readline()
        if not line.endswith(b"\n"):
            code = process.wait()
            self.close()
            remedy = f"its last words are in {self._log}" if self._log else ""
            raise StageError(stage, died(code, stage), remedy)
        return line

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, started anew where there is none that lives."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            with Path(self._log or os.devnull).open("ab") as log:
                self._process = subprocess.Popen(
                    command(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment(),
                    start_new_session=True,  # Ctrl-C is for the parent to handle
                )
        return self._process


def message_of(task: Task[Any], folder: Path) -> Message:
    """The task as it travels; its files go into `folder`."""
    kind = type(task)
    raw = msgspec.Raw(msgspec.json.encode(task))
    return Message(kind.__module__, kind.__qualname__, task.stage, str(folder), raw)


def read_reply(line: bytes, task: Task[Answer]) -> Answer:
    """The answer in a worker's reply to the task. Raises StageError with what the worker tells."""
    reply = msgspec.json.decode(line, type=Reply)
    if reply.failure is not None:
        raise StageError(reply.failure.stage, reply.failure.cause, reply.failure.remedy)
    answer: Answer = msgspec.json.decode(reply.answer, type=task.answer_type)
    return answer


def shorter(*limits_s: float | None) -> float | None:
    """The shortest of times, of which None is endless."""
    return min((limit_s for limit_s in limits_s if limit_s is not None), default=None)


def wait_for(
    process: subprocess.Popen[bytes], limits: WorkerLimits, timeout_s: float | None
) -> tuple[str, str] | None:
    """None once the process says something or ends; what it used too much of, and the remedy, when that comes first."""
    seconds = limits.seconds_of(timeout_s)
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        while not selector.select(min(LOOK_S, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return f"no answer within {seconds:g} s", f"{HOURS}={seconds / 1800:.3g} allows twice as long"
            over = over_memory(process.pid, limits.memory_bytes)
            if over is not None:
                return over
    return None


def command(module: str = __name__) -> list[str]:
    """The command line of a process that calls `main` of a module of edgekit with this process's number."""
    folder = Path(__file__).resolve().parents[1]
    places = (str(folder / "__init__.py"), str(folder))
    return [sys.executable, "-c", PROGRAM, *places, module, str(os.getpid())]


def environment() -> dict[str, str]:
    """This process's, without empty entries of PYTHONPATH: they mean the working folder."""
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**rest, "PYTHONPATH": os.pathsep.join(places)} if places else rest


def died(code: int, stage: str) -> str:
    """How the process of a stage ended, in words."""
    if code >= 0:
        return f"the {stage} process ended with exit code {code}"
    return f"the {stage} process was killed by {signal.Signals(-code).name}"


def reply_to(line: bytes) -> bytes:
    """One message in, one reply out: whatever happens between the two is the task's answer or its failure."""
    message = msgspec.json.decode(line, type=Message)
    try:
        kind = getattr(importlib.import_module(message.module), message.kind)
        task: Task[object] = msgspec.json.decode(message.task, type=kind)
        answer = msgspec.Raw(msgspec.json.encode(task.perform(Path(message.folder))))
        return msgspec.json.encode(Reply(answer))
    except (Exception, SystemExit) as error:  # noqa: BLE001 libraries raise whatever they like, and some exit
        return failed_reply(as_stage_error(message.stage, error, sys.stderr))


def failed_reply(told: StageError) -> bytes:
    """The line that says why there is no answer."""
    return msgspec.json.encode(Reply(NOTHING, Broken(told.stage, told.cause, told.remedy)))


def main(parent: int) -> None:
    """Answer messages until standard input ends, or `parent` does. What libraries print does not break the protocol."""
    die_with_parent(parent)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        answers.write(reply_to(line) + b"\n")
        answers.flush()
