"""A training as a task: what it needs by name, so that another machine can do it.

A live module, arrays and functions that a Python caller gave stay in the process that holds them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.job import CutShortError, PruneJob, distil
from edgekit.building.variants.training import training_deadline
from edgekit.data import make_splits, open_source
from edgekit.errors import StageError, UserError
from edgekit.files import expanded
from edgekit.model import WeightsPart, identified, load_module, locate
from edgekit.progress import SilentStep
from edgekit.reference import is_reference, locate_reference
from edgekit.store import Store
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from edgekit.building.executor import Executor

__all__ = ["TrainTask", "Trained", "train_elsewhere", "why_it_stays"]


@dataclass(frozen=True)
class Trained:
    """What a training gave beside its file. `meta`: of its entry in the store. `shortened`: by the time limit."""

    meta: dict[str, Any]
    shortened: bool


@dataclass(frozen=True)
class TrainTask:
    """One training; see PruneJob for all that it depends on. It writes pruned.safetensors.

    Everything else says where that lies: `model`, `weights`, `part`; `data` with what makes its splits. `project`: the
    working folder that names are relative to. `in_place`: the files and folders meant, which a worker has to see at the
    same path. `store` and `key`: where checkpoints go. `seconds_left`: to a time limit's end of training.
    """

    job: PruneJob
    model: str
    weights: str | None
    part: WeightsPart
    data: str
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    seed: int
    calibration_samples: int
    project: str
    in_place: tuple[str, ...]
    store: str
    key: str
    seconds_left: float | None
    trains_on: Literal["auto", "cpu", "cuda"]

    stage: ClassVar[str] = "pruned"
    answer_type: ClassVar[Any] = Trained
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """Those of the job."""
        return self.job.key_parts()

    def perform(self, folder: Path) -> Trained:
        """See executor.Task. Raises StageError where network or data are not those that the job is about."""
        with working_in(Path(self.project)), TemporaryDirectory() as spool, Store.open(self.store) as store:
            ref = identified(locate(self.model, self.weights, self.part))
            if ref.digest != self.job.model_digest:
                raise StageError(
                    self.stage, f"{self.model} is another network here than where the build runs"
                )
            source = open_source(self.data, self.preprocess, Path(spool), self.classes)
            splits = make_splits(source, seed=self.seed, calibration_samples=self.calibration_samples)
            train = splits.train
            seen = (None if train is None else train.digest, splits.validation.digest)
            if train is None or seen != (self.job.train_digest, self.job.validation_digest):
                raise StageError(
                    self.stage, f"the data in {self.data} is not what it is where the build runs"
                )
            deadline = None if self.seconds_left is None else time.monotonic() + self.seconds_left
            scratch = store.scratch(self.key)
            try:
                module = load_module(ref)
                return Trained(
                    distil(
                        module,
                        source,
                        train,
                        splits.validation,
                        self.job,
                        scratch,
                        deadline,
                        SilentStep(),
                        folder,
                    ),
                    False,
                )
            except CutShortError as cut:
                return Trained(cut.save(folder), True)


def why_it_stays(context: MakerContext, job: PruneJob) -> str:
    """What keeps a training in this process, in words; "" where it may travel."""
    request = context.request
    if context.model.module is not None:
        return "a live network cannot travel"
    if job.student:
        return "a student is trained where the build runs"
    if not isinstance(request.data, (str, Path)):
        return "data that is given from Python cannot travel"
    for spec in (request.train.loss, request.train.step):
        if spec is not None and not locate_reference(spec, UserError).file:
            return "a function that is given from Python cannot travel"
    return ""


def train_elsewhere(context: MakerContext, executor: Executor, job: PruneJob, folder: Path) -> dict[str, Any]:
    """The training by an executor that takes it elsewhere. Raises StageError, CutShortError."""
    trained = executor.run(task_for(context, job), folder)
    if not trained.shortened:
        return trained.meta
    content = (folder / "pruned.safetensors").read_bytes()

    def save(place: Path) -> dict[str, Any]:
        (place / "pruned.safetensors").write_bytes(content)
        return trained.meta

    raise CutShortError(save)


def task_for(context: MakerContext, job: PruneJob) -> TrainTask:
    """The job with where everything lies."""
    request, ref, store = context.request, context.model.ref, context.cache.store
    classes = context.source.classes if request.classes is not None else None
    deadline = training_deadline(context.time_limit)
    return TrainTask(
        job=job,
        model=ref.source,
        weights=None if ref.weights is None else str(ref.weights),
        part=ref.part,
        data=str(request.data),
        preprocess=request.preprocess,
        classes=None if classes is None else tuple(classes),
        seed=request.seed,
        calibration_samples=request.calibration_samples,
        project=str(Path.cwd()),
        in_place=named_places(context),
        store=str(store.folder),
        key=store.key("pruned", job.key_parts()),
        seconds_left=None if deadline is None else max(0.0, deadline - time.monotonic()),
        trains_on=job.train.device,
    )


def named_places(context: MakerContext) -> tuple[str, ...]:
    """The files and folders that a training opens: code, weights, data."""
    request, ref = context.request, context.model.ref
    places = [] if ref.weights is None else [str(ref.weights)]
    for spec in (ref.source, str(request.data), request.train.loss, request.train.step):
        if spec is None or spec == "digits":
            continue
        path = expanded(spec)
        if path.exists():
            places.append(str(path.absolute()))
        elif is_reference(spec):
            places.append(str(Path(locate_reference(spec, UserError).file).absolute()))
    return tuple(dict.fromkeys(places))


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The working folder, where it is there; what is absent from it is told by its own reader."""
    before = Path.cwd()
    if folder.is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
