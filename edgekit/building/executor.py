"""How tasks are run: a Protocol, the table of what there is, and the boundary where a library's errors end.

A task is a value: it travels as JSON, knows the store key of its answer, and can be run by any executor.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TextIO, TypeVar

from edgekit.errors import EdgekitError, StageError, UserError, in_one_line

__all__ = [
    "DEFAULT_EXECUTOR",
    "Executor",
    "InProcessExecutor",
    "Task",
    "as_stage_error",
    "check_executor",
    "is_elsewhere",
    "make_executor",
]

DEFAULT_EXECUTOR = "process"

EXECUTORS: Mapping[str, tuple[str, str]] = {
    "process": ("edgekit.building.worker", "ProcessExecutor"),
    "in-process": ("edgekit.building.executor", "InProcessExecutor"),
    "ray": ("edgekit.building.cluster.executor", "RayExecutor"),
}
"""Name → module and class, loaded when asked for; the class takes the path of its log, or None.

One of ADDRESSED also takes an address ("" where none is given) and what makes an empty folder for its own files.
"""

ADDRESSED = frozenset({"ray"})
"""Executors that may be given as name://address: tasks leave this machine."""

MakeFolder = Callable[[], Path]

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class Task(Protocol[Answer_co]):
    """One piece of work: a frozen dataclass of values that JSON can hold.

    `stage` names it in the store and in failures; `answer_type` is what msgspec reads its answer as; `timeout_s`
    ends a process that does not answer; None: after what `limits` allows.
    """

    stage: ClassVar[str]
    answer_type: ClassVar[Any]
    timeout_s: ClassVar[float | None]

    def key_parts(self) -> dict[str, Any]:
        """Every field; for a field that is a place (a path), the digest of what lies there."""

    def perform(self, folder: Path) -> Answer_co:
        """Do the work in this process; files that it makes go into `folder`. May raise anything."""


class Executor(Protocol):
    """Where tasks are run. `run` is used by so many threads at most as there are `slots`, `close` by the first one."""

    @property
    def slots(self) -> int:
        """How many tasks run side by side."""

    def run(self, task: Task[Answer], folder: Path, within_s: float | None = None) -> Answer:
        """Do the task; `folder` is there, for files that it makes. `within_s`: what a time limit leaves for it.

        Raises StageError when it fails, whatever a library threw, and when its process dies or does not answer.
        """

    def close(self) -> None:
        """End what is running, at once. It may be called twice."""


def check_executor(name: str) -> tuple[str, str]:
    """A row of EXECUTORS, and the address behind "://". Raises UserError for what is none of them."""
    row, mark, address = name.partition("://")
    if row not in EXECUTORS:
        raise UserError(f'no executor "{row}"', allowed=", ".join(EXECUTORS))
    if mark and row not in ADDRESSED:
        raise UserError(f'the executor "{row}" has no address', allowed=f"--executor {row}")
    if mark and not address:
        raise UserError(f'--executor "{name}" names no address', allowed=f"{row}, or {row}://HOST:PORT")
    return row, address


def is_elsewhere(name: str) -> bool:
    """Whether tasks of that executor may leave this machine."""
    return check_executor(name)[0] in ADDRESSED


def make_executor(name: str, log: Path | None = None, workspace: MakeFolder | None = None) -> Executor:
    """The executor of that name; `log` keeps what libraries say (None: it is dropped). Raises UserError.

    `workspace` makes an empty folder that is removed with its owner, for an executor that needs one.
    """
    row, address = check_executor(name)
    module, attribute = EXECUTORS[row]
    kind = getattr(importlib.import_module(module), attribute)
    executor: Executor = kind(log, address, workspace) if row in ADDRESSED else kind(log)
    return executor


class InProcessExecutor:
    """Runs tasks in this very process: for a debugger, and for tests. A runtime that dies takes all with it."""

    def __init__(self, log: Path | None = None) -> None:
        self._log = log

    @property
    def slots(self) -> int:
        """One: it is this process."""
        return 1

    def run(self, task: Task[Answer], folder: Path, within_s: float | None = None) -> Answer:
        """See Executor; neither `timeout_s` nor `within_s` is kept."""
        try:
            return task.perform(folder)
        except (Exception, SystemExit) as error:
            with Path(self._log or os.devnull).open("a") as log:
                raise as_stage_error(task.stage, error, log) from error

    def close(self) -> None:
        """Nothing is running."""


def as_stage_error(stage: str, error: BaseException, log: TextIO) -> StageError:
    """What was thrown as one line with its reason; the traceback of what edgekit did not raise goes to `log`."""
    if isinstance(error, StageError):
        return error
    if isinstance(error, EdgekitError):
        return StageError(stage, str(error))
    with contextlib.suppress(OSError):  # a full disk costs the log, not the reason
        traceback.print_exception(error, file=log)
    said = in_one_line(error)
    if not said:  # a bare assert: the place is all there is to tell
        frames = traceback.extract_tb(error.__traceback__)
        said = (
            f"in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "no reason given"
        )
    return StageError(stage, f"{type(error).__name__}: {said}")
