"""One plan applied at once: looked at untrained, or trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.base import NetworkPlan, Samples
from edgekit.compress.folding import folded
from edgekit.compress.norms import norm_batches, reestimate_norms
from edgekit.compress.pruning.distilling import SharedProgress, distilling, fingerprint_of
from edgekit.compress.pruning.outcome import PruneOutcome
from edgekit.compress.pruning.plan import PrunePlan
from edgekit.compress.pruning.propose import apply_plan
from edgekit.compress.pruning.soundness import retrace
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.shared import TeacherOutputs
from edgekit.errors import StageError
from edgekit.progress import SilentStep, Step

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["look_at", "train_once", "train_planned"]

PLANNED = "planned"


def look_at(
    original: torch.nn.Module, example: Example, plan: PrunePlan, samples: Samples, *, seed: int = 0
) -> torch.nn.Module:
    """What `plan` makes of `original`, untrained, with batch norms re-estimated on up to 512 of `samples`.

    In eval mode; `original` is left as it is. Raises StageError when the plan does not fit.
    """
    network = apply_plan(original, example, plan)
    reestimate_norms(network, norm_batches(samples, seed))
    return network


def train_planned(
    original: torch.nn.Module,
    example: Example,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    plan: PrunePlan,
    train_config: TrainConfig,
    *,
    limit: float,
    baseline: float | None = None,
    teacher: torch.nn.Module | None = None,
    shared: TeacherOutputs | None = None,
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Make `plan` of `original` at once (blocks first, then channels) and distil from `teacher` (None: the original).

    `limit`: the drop from `baseline`, the original's score by `validate` (asked where it is not given), that the one
    record of history calls accepted. `deadline` (time.monotonic() seconds) shortens the training. `folder` keeps a
    checkpoint, and the result unless it was shortened: a rerun with the same arguments goes on from there. Trainings of
    other plans and lengths may lie beside it, those on other samples may not. `shared` keeps the teacher's outputs for
    the next plan that is trained on the same batches. Raises StageError when the plan does not fit or changes nothing.
    """
    if not plan.changes:
        raise StageError("prune", "the plan takes nothing away")
    original = folded(original)
    student = apply_plan(original, example, plan)
    teaching = original if teacher is None else folded(teacher)
    outcome = train_once(
        teaching, student, train, validate, plan, train_config, PLANNED, limit=limit, baseline=baseline,
        shared=shared, progress=progress, folder=folder, deadline=deadline,
    )  # fmt: skip
    retrace(student, example)
    return outcome


def train_once(
    original: torch.nn.Module,
    student: torch.nn.Module,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    plan: NetworkPlan,
    train_config: TrainConfig,
    reason: str,
    *,
    limit: float,
    baseline: float | None = None,
    shared: TeacherOutputs | None = None,
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Distil `student`, which `plan` says how it came about, in place from the original; the rest as `train_planned`.

    `reason`: what the outcome says of its end, and what its files in `folder` begin with.
    """
    share = SharedProgress(progress or SilentStep(), train_config.epochs)
    trainings = distilling(original, train, validate, train_config, share, folder, shared)
    before = validate(original) if baseline is None else baseline
    left_s = None if deadline is None else max(1.0, deadline - time.monotonic())
    name = f"{reason}-{fingerprint_of(student, plan, train_config, len(trainings.train))[:12]}"
    record = trainings.trained("final", name, student, plan, train_config, before, limit, left_s=left_s)
    share.end(reason)
    return PruneOutcome(
        module=student,
        plan=plan,
        baseline=before,
        history=(record,),
        reason=reason,
        shortened=record.shortened,
        opened=trainings.opened,
        aside=record.aside,
    )
