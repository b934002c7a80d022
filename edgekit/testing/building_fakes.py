"""A task and an executor for tests of builds."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from edgekit.building.executor import InProcessExecutor, Task
from edgekit.errors import ModelError, StageError

__all__ = ["FakeEndlessTask", "FakeError", "FakeExecutor", "FakeTask"]

Answer = TypeVar("Answer")


class FakeError(Exception):
    """What a library may throw that is neither a RuntimeError nor a ValueError."""


@dataclass(frozen=True)
class FakeTask:
    """Answers `value`, or fails as `deed` says."""

    deed: Literal[
        "answer", "file", "assert", "bare", "error", "exit", "user", "stage", "die", "leave", "hang"
    ]
    value: int = 0

    stage: ClassVar[str] = "fake"
    answer_type: ClassVar[Any] = int
    timeout_s: ClassVar[float | None] = 120.0

    def key_parts(self) -> dict[str, Any]:
        return {"deed": self.deed, "value": self.value}

    def perform(self, folder: Path) -> int:
        """See executor.Task; `file` writes one."""
        if self.deed == "file":
            (folder / "made").write_text(str(self.value))
        elif self.deed == "assert":
            raise AssertionError("channels differ:\n3 and 4")
        elif self.deed == "bare":
            assert self.value > 0
        elif self.deed == "error":
            raise FakeError("no such layer")
        elif self.deed == "exit":
            sys.exit("the compiler gave up")
        elif self.deed == "user":
            raise ModelError("net.onnx cannot be opened", remedy="export it again")
        elif self.deed == "stage":
            raise StageError("quantize", "no range", "more samples")
        elif self.deed == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.deed == "leave":
            os._exit(7)
        return self.value


@dataclass(frozen=True)
class FakeEndlessTask:
    """Gives no answer."""

    stage: ClassVar[str] = "endless"
    answer_type: ClassVar[Any] = None
    timeout_s: ClassVar[float | None] = 0.2

    def key_parts(self) -> dict[str, Any]:
        return {}

    def perform(self, folder: Path) -> None:
        while True:
            time.sleep(60)


class FakeExecutor:
    """Runs tasks in this process and remembers the stages that it was given."""

    def __init__(self, log: Path | None = None) -> None:
        self._inner = InProcessExecutor(log)
        self.stages: list[str] = []
        self.closed = False

    def run(self, task: Task[Answer], folder: Path) -> Answer:
        self.stages.append(task.stage)
        return self._inner.run(task, folder)

    def close(self) -> None:
        self.closed = True
