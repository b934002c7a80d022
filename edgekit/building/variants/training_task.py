"""A training as a task: what it needs by name, so that another machine can do it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.job import CutShortError, PruneJob, distil
from edgekit.building.variants.named_task import NamedTask, named_inputs
from edgekit.building.variants.training import training_deadline
from edgekit.model import load_module
from edgekit.progress import SilentStep
from edgekit.store import Store

if TYPE_CHECKING:
    from edgekit.building.executor import Executor

__all__ = ["TrainTask", "Trained", "train_elsewhere"]


@dataclass(frozen=True)
class Trained:
    """What a training gave beside its file. `meta`: of its entry in the store. `shortened`: by the time limit."""

    meta: dict[str, Any]
    shortened: bool


@dataclass(frozen=True)
class TrainTask(NamedTask):
    """One training; see PruneJob for all that it depends on. It writes pruned.safetensors.

    `store` and `key`: where checkpoints go. `seconds_left`: to a time limit's end of training.
    """

    job: PruneJob
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
        with self.opened() as there, Store.open(self.store) as store:
            if there.ref.digest != self.job.model_digest:
                raise there.other_network()
            train, validation = there.splits.train, there.splits.validation
            seen = (None if train is None else train.digest, validation.digest)
            if train is None or seen != (self.job.train_digest, self.job.validation_digest):
                raise there.other_data()
            deadline = None if self.seconds_left is None else time.monotonic() + self.seconds_left
            scratch = store.scratch(self.key)
            try:
                module = load_module(there.ref)
                return Trained(
                    distil(
                        module,
                        there.source,
                        train,
                        validation,
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
    store, deadline = context.cache.store, training_deadline(context.time_limit)
    return TrainTask(
        **named_inputs(context),
        job=job,
        store=str(store.folder),
        key=store.key("pruned", job.key_parts()),
        seconds_left=None if deadline is None else max(0.0, deadline - time.monotonic()),
        trains_on=job.train.device,
    )
