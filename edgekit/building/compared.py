"""A comparison in which one side, or both, runs on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgekit.building.examining import CompareTask, Examined, examined_or_refused, run_in_worker
from edgekit.building.on_device import LONGEST_S, measured_on
from edgekit.compare import BoardRun, BoardSide
from edgekit.devices import Device, Measured, MeasureOptions
from edgekit.errors import ModelError
from edgekit.files import sha256_file
from edgekit.types import Artifact, FileHash

if TYPE_CHECKING:
    from edgekit.devices import JobProgress

__all__ = ["run_sides"]

NO_FILE = "its runtime there has no file that shows tensors between layers"


@dataclass(frozen=True)
class SidesTask:
    """Writes what a device gets for the sides that run there into side-0/ and side-1/."""

    compare: CompareTask
    there: tuple[bool, bool]

    stage: ClassVar[str] = "comparing"
    answer_type: ClassVar[Any] = Examined
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """Every field; no answer is kept."""
        return {"compare": self.compare.key_parts(), "there": self.there}

    def perform(self, folder: Path) -> Examined:
        """See executor.Task."""
        return examined_or_refused(lambda: Examined(sides=self._sides(folder)))

    def _sides(self, folder: Path) -> tuple[BoardSide | None, BoardSide | None]:
        from edgekit.compare import write_board_sides

        task = self.compare
        folders = [folder / f"side-{index}" if there else None for index, there in enumerate(self.there)]
        for place in folders:
            if place is not None:
                place.mkdir()
        return write_board_sides(
            task.a,
            task.b,
            task.samples(folder),
            (folders[0], folders[1]),
            count=task.count,
            seed=task.seed,
            names=task.names,
        )


def run_sides(
    task: CompareTask,
    device: Device,
    there: tuple[bool, bool],
    folder: Path,
    progress: JobProgress | None = None,
) -> CompareTask:
    """Run A, B or both on the device; gives the task with what came back.

    Raises ModelError for what the device cannot run, DeviceError, and as `compare_in_worker` does.
    """
    failed = f"{task.names[0]} and {task.names[1]} cannot be compared"
    sides = run_in_worker(SidesTask(task, there), folder, failed).sides
    artifacts = (task.a, task.b)
    runs = [
        None
        if side is None
        else _run(device, artifacts[index], side, folder / f"side-{index}", task, progress)
        for index, side in enumerate(sides)
    ]
    return replace(task, runs=(runs[0], runs[1]))


def _run(
    device: Device,
    artifact: Artifact,
    side: BoardSide,
    folder: Path,
    task: CompareTask,
    progress: JobProgress | None,
) -> BoardRun:
    """The artifact as it is, then the file that shows its tensors, if there is one and the device takes it."""
    ran = _outputs(device, artifact, side.feeds, folder / "ran", task, progress)
    where = f"{device.name} ({ran.measurement.origin})"
    outputs = {name: str(path) for name, path in ran.outputs.items()}
    if not side.shown:
        return BoardRun(side.feeds, outputs, {}, 0, where, NO_FILE)
    first = {name: _first(path, side.looks) for name, path in side.feeds.items()}
    try:
        shown = _outputs(
            device, _beside(artifact, folder, side.shown), first, folder / "shown", task, progress
        )
    except ModelError as error:
        why = f"the file that shows its tensors does not run there: {error.parts[0]}"
        return BoardRun(side.feeds, outputs, {}, 0, where, why)
    return BoardRun(
        side.feeds, outputs, {name: str(path) for name, path in shown.outputs.items()}, side.looks, where
    )


def _outputs(
    device: Device,
    artifact: Artifact,
    feeds: Any,
    folder: Path,
    task: CompareTask,
    progress: JobProgress | None,
) -> Measured:
    options = MeasureOptions(threads=task.threads, seconds=0.0, timeout_s=LONGEST_S)
    samples = {name: Path(path) for name, path in feeds.items()}
    first = {name: np.load(path, mmap_mode="r", allow_pickle=False)[:1] for name, path in samples.items()}
    return measured_on(device, artifact, folder, options, feeds=first, samples=samples, progress=progress)


def _beside(artifact: Artifact, folder: Path, entry: str) -> Artifact:
    """The file that shows the artifact's tensors, and its weights, as an artifact of its own."""
    stem = Path(entry).stem
    files = [path for path in sorted(folder.iterdir()) if path.name.startswith(stem) and path.is_file()]
    listed = tuple(FileHash(path.name, sha256_file(path), path.stat().st_size) for path in files)
    return replace(artifact, folder=str(folder), entry=entry, files=listed)


def _first(path: str, count: int) -> str:
    """The first rows of a file as a file."""
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(rows) <= count:
        return path
    shortened = f"{path.removesuffix('.npy')}-first.npy"
    np.save(shortened, rows[:count], allow_pickle=False)
    return shortened
