"""Tasks, an executor and a maker of variants, for tests of builds."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from edgekit.building.executor import InProcessExecutor, Task
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.original import ORIGINAL, make_variant
from edgekit.errors import ModelError, StageError
from edgekit.types import Failure, Rejection, Signature

__all__ = [
    "FakeEndlessTask",
    "FakeError",
    "FakeExecutor",
    "FakeFatalTask",
    "FakeGreedyTask",
    "FakeImportTask",
    "FakeReadTask",
    "FakeTask",
]

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
        elif self.deed == "hang":
            time.sleep(600)
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


@dataclass(frozen=True)
class FakeGreedyTask:
    """Fills so much memory, and gives it back after a while."""

    gigabytes: float

    stage: ClassVar[str] = "greedy"
    answer_type: ClassVar[Any] = None
    timeout_s: ClassVar[float | None] = 120.0

    def key_parts(self) -> dict[str, Any]:
        return {"gigabytes": self.gigabytes}

    def perform(self, folder: Path) -> None:
        filled = b"\1" * int(self.gigabytes * 1e9)
        time.sleep(min(len(filled), 60))


@dataclass(frozen=True)
class FakeReadTask:
    """Answers what a file says, and its path; the file "gone" beside it is missed in words."""

    path: str
    in_place: tuple[str, ...] = ()
    trains_on: str = "cpu"

    stage: ClassVar[str] = "read"
    answer_type: ClassVar[Any] = tuple[str, str]
    timeout_s: ClassVar[float | None] = 120.0

    def key_parts(self) -> dict[str, Any]:
        return {"path": self.path}

    def perform(self, folder: Path) -> tuple[str, str]:
        text = Path(self.path).read_text()
        if text == "refuse":
            raise ModelError(f"{self.path} cannot be used")
        (folder / "copy").write_text(text)
        return text, f"{self.path} {folder / 'copy'} {os.environ.get('OMP_NUM_THREADS', '')}"


@dataclass(frozen=True)
class FakeFatalTask:
    """Kills the process that started its own, as often as `times` says: each time leaves a file in `marks`.

    Its answer is how often it was begun.
    """

    marks: str
    times: int

    stage: ClassVar[str] = "fatal"
    answer_type: ClassVar[Any] = int
    timeout_s: ClassVar[float | None] = 120.0

    def key_parts(self) -> dict[str, Any]:
        return {"times": self.times}

    def perform(self, folder: Path) -> int:
        marks = Path(self.marks.removeprefix("in:"))
        begun = len(list(marks.iterdir())) + 1
        (marks / str(begun)).touch()
        if begun <= self.times:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return begun


@dataclass(frozen=True)
class FakeImportTask:
    """Answers the file that a module is loaded from."""

    module: str

    stage: ClassVar[str] = "import"
    answer_type: ClassVar[Any] = str
    timeout_s: ClassVar[float | None] = 120.0

    def key_parts(self) -> dict[str, Any]:
        return {"module": self.module}

    def perform(self, folder: Path) -> str:
        return str(importlib.import_module(self.module).__file__)


class FakeExecutor:
    """Runs tasks in this process and remembers the stages that it was given."""

    def __init__(self, log: Path | None = None) -> None:
        self._inner = InProcessExecutor(log)
        self.stages: list[str] = []
        self.closed = False

    @property
    def slots(self) -> int:
        return 1

    def run(self, task: Task[Answer], folder: Path, within_s: float | None = None) -> Answer:
        self.stages.append(task.stage)
        return self._inner.run(task, folder, within_s)

    def close(self) -> None:
        self.closed = True


class FakeMaker:
    """The original with the first channel of its first convolution at zero; then what could not be made."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        return None

    def make(self, context: MakerContext) -> Iterator[MadeVariant | Rejection | Failure]:
        original = context.original

        def write(path: Path) -> Signature:
            import onnx
            from onnx import numpy_helper

            model = onnx.load(original.onnx_path)
            weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
            values = numpy_helper.to_array(weight).copy()
            values[0] = 0.0
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
            onnx.save(model, str(path))
            return original.signature

        parts = {"fake": original.digest}
        variant = make_variant(context.cache, "zeroed", "pruned", ORIGINAL, "a fake", parts, write)
        yield MadeVariant(variant, ("one channel at zero",))
        yield Rejection("zeroed", "a second channel would not do")
