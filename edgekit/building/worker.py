"""Lints, exports and quantizes in a process of its own, so that a runtime that dies takes no build with it.

`main` reads one task a line and answers one line: {"artifact": …}, {"examination": …} or
{"failure": {"stage", "cause", "remedy"}}. It ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import StageError, UserError, in_one_line
from edgekit.types import Artifact, BackendName, Candidate, Examination, Failure, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ExportTask", "LintTask", "Worker"]

CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class ExportTask:
    """One export, in values that travel as JSON. `samples` are .npy files, one per network input.

    `store` is the folder of the store that keeps what a quantization plan takes long to measure; "": nothing is kept.
    """

    variant: Variant
    candidate: Candidate
    target: str
    features: tuple[str, ...]
    folder: str
    project: str
    samples: tuple[str, ...]
    samples_digest: str
    threads: int
    store: str = ""


@dataclass(frozen=True)
class LintTask:
    """One runtime's lint of one network, in values that travel as JSON."""

    variant: Variant
    backend: BackendName
    target: str
    project: str


@dataclass(frozen=True)
class Task:
    """One line to the worker: exactly one of the two."""

    export: ExportTask | None = None
    lint: LintTask | None = None


@dataclass(frozen=True)
class Answer:
    """What the worker says of one task: exactly one of the three."""

    artifact: Artifact | None = None
    examination: Examination | None = None
    failure: Failure | None = None


class Worker:
    """The parent's end: starts the process when first needed, restarts it after it died."""

    def __init__(self, log: Path | None = None) -> None:
        """`log` keeps what libraries say; without one it is dropped."""
        self._log = log
        self._process: object | None = None

    def export(self, task: ExportTask) -> Artifact:
        """Raises StageError when the export fails or its process dies."""
        answer = self._ask(Task(export=task), "export")
        assert answer.artifact is not None
        return answer.artifact

    def lint(self, task: LintTask) -> Examination:
        """Raises StageError when the network cannot be read or the process dies of it."""
        answer = self._ask(Task(lint=task), "lint")
        assert answer.examination is not None
        return answer.examination

    def _ask(self, task: Task, stage: str) -> Answer:
        """Hand over one task and wait. Raises StageError."""
        import subprocess

        import msgspec

        process = self._process
        if not isinstance(process, subprocess.Popen) or process.poll() is not None:
            self.close()
            with Path(self._log or os.devnull).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-c", "from edgekit.building.worker import main; main()"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the parent to handle
                )
            self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            code = process.wait()
            self.close()
            raise StageError(
                stage, died(code, stage), f"its last words are in {self._log}" if self._log else ""
            )
        answer = msgspec.json.decode(line, type=Answer)
        if answer.failure is not None:
            raise StageError(answer.failure.stage, answer.failure.cause, answer.failure.remedy)
        return answer

    def close(self) -> None:
        """End the process, at once."""
        import subprocess

        if isinstance(self._process, subprocess.Popen):
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):  # a task that a dead process did not read
                self._process.communicate()
            self._process = None


def died(code: int, stage: str) -> str:
    """How the process of a stage ended, in words."""
    import signal

    if code >= 0:
        return f"the {stage} process ended with exit code {code}"
    return f"the {stage} process was killed by {signal.Signals(-code).name}"


def stream_samples(paths: tuple[str, ...]) -> Callable[[], Iterator[tuple[NDArray[np.generic], ...]]]:
    """Batches out of .npy files by plain reads: mapped pages would count as this process's memory."""

    def batches() -> Iterator[tuple[NDArray[np.generic], ...]]:
        import numpy as np

        heads = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        shapes = [head.shape for head in heads]
        dtypes = [head.dtype for head in heads]
        offsets = [head.offset for head in heads]
        del heads
        for start in range(0, shapes[0][0], CALIBRATION_BATCH):
            count = min(CALIBRATION_BATCH, shapes[0][0] - start)
            batch = []
            for path, shape, dtype, offset in zip(paths, shapes, dtypes, offsets, strict=True):
                size = int(np.prod(shape[1:], dtype=np.int64))
                values = np.fromfile(path, dtype, count * size, offset=offset + start * size * dtype.itemsize)
                batch.append(values.reshape(count, *shape[1:]))
            yield tuple(batch)

    return batches


def perform(task: ExportTask) -> Artifact:
    """Run one task in this process. Raises StageError or UserError."""
    import numpy as np

    from edgekit.backends import get_backend
    from edgekit.backends.base import ExportRequest
    from edgekit.building.memo import store_memo
    from edgekit.hardware import find_target
    from edgekit.quantize import CalibrationData, find_recipe

    calibration = recipe = None
    project = Path(task.project)
    if task.candidate.recipe:
        recipe = find_recipe(task.candidate.recipe, project)
        samples = int(np.load(task.samples[0], mmap_mode="r", allow_pickle=False).shape[0])
        calibration = CalibrationData(stream_samples(task.samples), samples, task.samples_digest)
    request = ExportRequest(
        variant=task.variant,
        candidate=task.candidate,
        target=find_target(task.target, project),
        features=frozenset(task.features),
        folder=Path(task.folder),
        recipe=recipe,
        calibration=calibration,
        threads=task.threads,
        memo=store_memo(Path(task.store)) if task.store else None,
    )
    return get_backend(task.candidate.backend).export(request)


def examine(task: LintTask) -> Examination:
    """Run one lint in this process. Raises StageError or UserError."""
    from edgekit.backends import get_backend
    from edgekit.hardware import find_target

    return get_backend(task.backend).lint(task.variant, find_target(task.target, Path(task.project)))


def answer_line(line: bytes) -> Answer:
    """One task in, one answer out."""
    import traceback

    import msgspec

    task = msgspec.json.decode(line, type=Task)
    name, stage = (task.export.candidate.id, "export") if task.export else ("", "lint")
    try:
        if task.export is not None:
            return Answer(artifact=perform(task.export))
        assert task.lint is not None
        return Answer(examination=examine(task.lint))
    except StageError as error:
        failure = Failure(name, error.stage, error.cause, error.remedy)
    except UserError as error:
        failure = Failure(name, stage, str(error))
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        # Exporters raise whatever they like; the whole story goes to the log, one line to the report.
        traceback.print_exc()
        failure = Failure(name, stage, f"{type(error).__name__}: {in_one_line(error)}")
    return Answer(failure=failure)


def main() -> None:
    """Answer tasks until standard input ends. Libraries that print must not break the protocol."""
    import msgspec

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        answers.write(msgspec.json.encode(answer_line(line)) + b"\n")
        answers.flush()
