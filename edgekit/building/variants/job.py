"""One smaller network by all that its weights depend on, and its training from values alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.original import example_inputs
from edgekit.building.variants.training import validator
from edgekit.compress import (
    METHOD,
    Features,
    IterateConfig,
    LowRankPlan,
    PruneConfig,
    PruneOutcome,
    PrunePlan,
    SparsePlan,
    TeacherOutputs,
    Teachers,
    TrainConfig,
    prune_iteratively,
    save_pruned,
    train_low_rank,
    train_planned,
    train_sparse,
    train_student,
)
from edgekit.errors import StageError
from edgekit.model.state import not_finite
from edgekit.opened import merged
from edgekit.result import TrainedStep

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from typing_extensions import Self

    from edgekit.data import DataSource, Split
    from edgekit.progress import Step

__all__ = ["CutShortError", "Job", "PruneJob", "Student", "TrainingJob", "distil"]


class TrainingJob(Protocol):
    """One training, by all that its weights depend on.

    `code`: digests of the user's own loss and step; `opened`: path and SHA-256 of each file that they read.
    """

    @property
    def code(self) -> tuple[str, ...]: ...

    @property
    def opened(self) -> tuple[tuple[str, str], ...]: ...

    def key_parts(self) -> dict[str, Any]:
        """Every field, and the number of its method."""

    def cut_parts(self, limit: TimeLimit) -> dict[str, Any]:
        """What a network depends on whose training `limit` cut short."""

    def having_opened(self, opened: tuple[tuple[str, str], ...]) -> Self:
        """The same where these files are read."""


Job = TypeVar("Job", bound=TrainingJob)


@dataclass(frozen=True)
class PruneJob:
    """One pruned network, or another smaller one, by all that its weights depend on.

    `limit`: the largest accuracy drop, a fraction. `fraction`: of the original's MACs to stop at; None: the limit alone
    ends it. `dropped`: blocks that go whole, `merged`: those whose convolutions become one, before any channel.
    `plan`: what goes from the network, all at once, as `PrunePlan` writes it; "": it is found step by step. `low_rank`:
    which layers are factorized, as `LowRankPlan` writes it; "": none. `student`: the digest of another network that
    learns from the original; "": it learns itself. `features`: what it learns of layers of the original and of its own.
    `teacher`: the digest of the network or the networks that teach, where it is not the one that is made smaller; "":
    it is its own teacher. `sparsity`: which weights become zero, as `SparsePlan` writes it; "": none.
    `code`: digests of the user's own loss and step; `opened`: path and SHA-256 of each file that they read when they
    are called, as far as a training has told (`with_opened`). What a time limit cut short has a key of its own
    (`cut_parts`), so that a longer one goes on.
    """

    model_digest: str
    train_digest: str
    validation_digest: str
    config: PruneConfig
    train: TrainConfig
    steps: IterateConfig
    limit: float
    fraction: float | None
    code: tuple[str, ...]
    opened: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    plan: str = ""
    low_rank: str = ""
    student: str = ""
    features: Features = field(default_factory=Features)
    teacher: str = ""
    sparsity: str = ""

    @property
    def trains_another(self) -> bool:
        """Whether what is trained is no pruned network."""
        return bool(self.low_rank or self.student or self.sparsity)

    def key_parts(self) -> dict[str, Any]:
        """Every field; files only where something may read any, and what is done at once only where it is.

        In the place of our code's digest stands the number of its method: trainings are long.
        """
        parts: dict[str, Any] = {**msgspec.to_builtins(self), "method": METHOD}
        parts["features"] = {kind: pairs for kind, pairs in parts["features"].items() if pairs}
        if not (self.code or self.opened):
            del parts["opened"]
        for name in (
            "dropped", "merged", "plan", "low_rank", "student", "features", "teacher", "sparsity",
        ):  # fmt: skip
            if not parts[name]:
                del parts[name]
        return parts

    def cut_parts(self, limit: TimeLimit) -> dict[str, Any]:
        """What a network depends on whose training `limit` cut short."""
        return {**self.key_parts(), "time_limit_s": limit.limit_s}

    def having_opened(self, opened: tuple[tuple[str, str], ...]) -> PruneJob:
        """The same where these files are read."""
        return replace(self, opened=opened)


@dataclass(frozen=True)
class Student:
    """A network of another architecture, in eval mode, and what it is called."""

    module: torch.nn.Module
    name: str


class CutShortError(Exception):
    """The training that the time limit cut short; usable, but not to be kept as the whole one. Never leaves a maker.

    `save` writes it into a folder and gives the meta of its entry.
    """

    def __init__(self, save: Callable[[Path], dict[str, Any]]) -> None:
        super().__init__()
        self.save = save


def distil(
    module: torch.nn.Module,
    source: DataSource,
    samples: Split,
    validation: Split,
    job: PruneJob,
    scratch: Path,
    deadline: float | None,
    step: Step,
    folder: Path,
    shared: TeacherOutputs | None = None,
    student: Student | None = None,
    own: torch.nn.Module | None = None,
    teachers: Teachers | None = None,
) -> dict[str, Any]:
    """The training of a job on its network and data. `scratch`: for checkpoints; `deadline`: see prune_iteratively.

    `shared`: what the teacher gave in trainings on the same batches, of plans. `student`: whom the job trains, if it
    is not the network itself. `own`: the user's network, if not the one that is made smaller: it is the one to be
    compared with, and it teaches where no `teachers` do.

    Raises StageError, CutShortError.
    """
    validate = validator(validation, own or module)
    baseline = validate(own or module)
    teacher = own if teachers is None else teachers.joined(samples, job.train)
    told: tuple[str, ...] = ()
    if teachers is not None and teacher is not None:
        told = tuple(teachers.told(validate, teacher, baseline))
    outcome = trained_by(
        module, example_inputs(source), samples, validate, baseline, job, scratch, deadline, step, shared, student,
        teacher, "" if teachers is None else teachers.within,
    )  # fmt: skip
    return kept_outcome(replace(outcome, notes=(*told, *outcome.notes)), job, folder)


def trained_by(
    module: torch.nn.Module,
    example: tuple[NDArray[np.generic], ...],
    samples: Split,
    validate: Callable[[torch.nn.Module], float],
    baseline: float,
    job: PruneJob,
    scratch: Path,
    deadline: float | None,
    step: Step,
    shared: TeacherOutputs | None,
    student: Student | None,
    teacher: torch.nn.Module | None,
    within: str,
) -> PruneOutcome:
    """What the job asks for, taught by `teacher` (None: the network itself). Raises StageError."""
    if student is not None:
        return train_student(
            module, student.module, student.name, example, samples, validate, job.train,
            limit=job.limit, baseline=baseline, features=job.features, teacher=teacher, within=within,
            progress=step, folder=scratch, deadline=deadline,
        )  # fmt: skip
    if job.sparsity:
        return train_sparse(
            module, samples, validate, SparsePlan.from_json(job.sparsity), job.train,
            limit=job.limit, baseline=baseline, teacher=teacher, progress=step, folder=scratch, deadline=deadline,
        )  # fmt: skip
    if job.low_rank:
        return train_low_rank(
            module, example, samples, validate, LowRankPlan.from_json(job.low_rank), job.train,
            limit=job.limit, baseline=baseline, teacher=teacher, progress=step, folder=scratch, deadline=deadline,
        )  # fmt: skip
    if job.plan:
        return train_planned(
            module, example, samples, validate, PrunePlan.from_json(job.plan), job.train,
            limit=job.limit, baseline=baseline, teacher=teacher, shared=shared, progress=step, folder=scratch,
            deadline=deadline,
        )  # fmt: skip
    return prune_iteratively(
        module, example, samples, validate, job.config, job.train,
        limit=job.limit, target_fraction=job.fraction, dropped=job.dropped, merged=job.merged, baseline=baseline,
        teacher=teacher, steps=job.steps, progress=step, folder=scratch, deadline=deadline,
    )  # fmt: skip


def kept_outcome(outcome: PruneOutcome, job: PruneJob, folder: Path) -> dict[str, Any]:
    """The network into `folder`, if it can be used and is whole. Raises StageError, CutShortError."""
    broken = not_finite(outcome.module)
    if broken:
        raise StageError(
            "finetune", f"the trained network cannot be used: {broken}", "a lower --learning-rate"
        )
    merged(dict(job.opened), outcome.opened)  # what the key says was read, if it was read
    if outcome.shortened:
        raise CutShortError(partial(save_outcome, outcome))
    return save_outcome(outcome, folder)


def save_outcome(outcome: PruneOutcome, folder: Path) -> dict[str, Any]:
    """The network into `folder`; gives the meta of its entry."""
    save_pruned(folder / "pruned.safetensors", outcome.module, outcome.plan)
    return {
        "history": history_lines(outcome),
        "fraction": outcome.plan.fraction,
        "steps": msgspec.to_builtins(trained_steps(outcome)),
        "seconds": sum(record.seconds for record in outcome.history),
        "aside": outcome.aside,
        "opened": dict(outcome.opened),
        "notes": list(outcome.notes),
    }


def trained_steps(outcome: PruneOutcome) -> tuple[TrainedStep, ...]:
    """The steps as values."""
    return tuple(
        TrainedStep(record.kind, record.plan.fraction, record.accuracy, record.accepted)
        for record in outcome.history
    )


def history_lines(outcome: PruneOutcome) -> list[str]:
    """What was done at once, one line per step, why it ended, what is worth knowing, and what kept its width."""
    lines = list(outcome.plan.lines)
    lines += [
        f"{record.kind}: {record.plan.fraction:.0%} of the MACs, accuracy {record.accuracy:.2%} "
        f"(drop {100 * record.drop:+.2f} points), {record.seconds:.0f} s"
        + ("" if record.accepted else ", too much")
        for record in outcome.history
    ]
    kept = [f"at full width: {outcome.kept}"] if outcome.kept else []
    return [*lines, outcome.reason, *outcome.notes, *kept]
