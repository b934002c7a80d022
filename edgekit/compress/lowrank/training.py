"""A factorized network: trained with the original as its teacher, saved, and loaded again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.base import Samples
from edgekit.compress.folding import folded
from edgekit.compress.lowrank.applying import apply_low_rank, sample_batches
from edgekit.compress.lowrank.plan import LowRankPlan
from edgekit.compress.norms import norm_batches, reestimate_norms
from edgekit.compress.pruning.outcome import PruneOutcome
from edgekit.compress.pruning.saved import load_saved
from edgekit.compress.pruning.single import train_once
from edgekit.compress.pruning.soundness import retrace
from edgekit.compress.training.config import TrainConfig
from edgekit.errors import StageError
from edgekit.progress import Step

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["factorized", "load_low_rank", "train_low_rank"]

REASON = "factorized"


def factorized(
    original: torch.nn.Module, example: Example, plan: LowRankPlan, samples: Samples, *, seed: int = 0
) -> torch.nn.Module:
    """What `plan` makes of `original`, untrained: factors by what layers read on up to 512 of `samples`.

    Batch norms are re-estimated; in eval mode. Raises StageError when the plan does not fit.
    """
    network = apply_low_rank(original, example, plan, sample_batches(samples, seed))
    reestimate_norms(network, norm_batches(samples, seed))
    return network


def train_low_rank(
    original: torch.nn.Module,
    example: Example,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    plan: LowRankPlan,
    train_config: TrainConfig,
    *,
    limit: float,
    baseline: float | None = None,
    teacher: torch.nn.Module | None = None,
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Factorize `original` by training samples, and distil from `teacher` (None: from it); else as `train_planned`.

    Raises StageError when the plan does not fit, or changes nothing.
    """
    if not plan.changes:
        raise StageError("low rank", "the plan factorizes nothing")
    original = folded(original)
    student = apply_low_rank(original, example, plan, sample_batches(train))
    for parameter in student.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    teaching = original if teacher is None else folded(teacher)
    outcome = train_once(
        teaching, student, train, validate, plan, train_config, REASON, limit=limit, baseline=baseline,
        progress=progress, folder=folder, deadline=deadline,
    )  # fmt: skip
    retrace(student, example)
    return outcome


def load_low_rank(path: Path, original: torch.nn.Module, example: Example) -> torch.nn.Module:
    """Rebuild what was trained and saved on a copy of `original`. Raises ModelError when it does not fit."""
    return load_saved(path, lambda plan: apply_low_rank(original, example, LowRankPlan.from_json(plan)))
