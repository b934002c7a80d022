"""A sparse network: zeros made while it is trained with the original as its teacher, saved, and loaded again."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.base import Samples
from edgekit.compress.folding import folded
from edgekit.compress.norms import norm_batches, reestimate_norms
from edgekit.compress.pruning.distilling import SharedProgress, distilling, fingerprint_of
from edgekit.compress.pruning.outcome import PruneOutcome, StepRecord
from edgekit.compress.pruning.saved import load_saved
from edgekit.compress.sparsity.hessian import hessian_diagonal
from edgekit.compress.sparsity.masks import ZeroWeights, weight_of
from edgekit.compress.sparsity.plan import SparsePlan
from edgekit.compress.training.config import TrainConfig
from edgekit.errors import StageError
from edgekit.progress import SilentStep, Step

if TYPE_CHECKING:
    import torch

__all__ = ["load_sparse", "sparsified", "train_sparse"]

REASON = "sparse"


def sparsified(
    original: torch.nn.Module, plan: SparsePlan, samples: Samples, *, seed: int = 0
) -> torch.nn.Module:
    """What `plan` makes of `original` at once, untrained; batch norms re-estimated on up to 512 of `samples`."""
    network = copy.deepcopy(folded(original)).eval()
    zero_weights(network, plan, samples, seed).advance(network, 1.0)
    reestimate_norms(network, norm_batches(samples, seed))
    return network.eval()


def zero_weights(network: torch.nn.Module, plan: SparsePlan, samples: Samples, seed: int) -> ZeroWeights:
    """The zeros of a training that begins with `network`."""
    hessian = hessian_diagonal(network, plan.layers, samples, seed) if plan.saliency == "obd" else {}
    return ZeroWeights(plan, hessian)


def train_sparse(
    original: torch.nn.Module,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    plan: SparsePlan,
    train_config: TrainConfig,
    *,
    limit: float,
    baseline: float | None = None,
    teacher: torch.nn.Module | None = None,
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Train `original` on while its weights become zero by `plan`, with `teacher` (None: itself); else as
    `train_planned`. Drops are from `baseline`, or the teacher's score where it is not given.

    A plan that rewinds trains twice: once to find the zeros, then what is left from the weights that the first began
    with (Frankle, Dziugaite, Roy and Carbin 2019, arXiv:1903.01611, with the end of the given training as the point
    that is rewound to). Raises StageError when the zeros are not there in the end.
    """
    original = folded(original)
    teaching = original if teacher is None else folded(teacher)
    student = copy.deepcopy(original)
    for parameter in student.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    share = SharedProgress(progress or SilentStep(), (1 + plan.rewind) * train_config.epochs)
    trainings = distilling(teaching, train, validate, train_config, share, folder)
    zeros = zero_weights(student, plan, trainings.train, train_config.seed)
    before = validate(teaching) if baseline is None else baseline
    begun_with = copy.deepcopy(student.state_dict())
    history: list[StepRecord] = []
    for kind in ("step", "final") if plan.rewind else ("final",):
        left_s = None if deadline is None else max(1.0, deadline - time.monotonic())
        if left_s is not None and kind == "step":
            left_s /= 2
        name = f"{REASON}-{kind}-{fingerprint_of(student, plan, train_config, len(trainings.train))[:12]}"
        record = trainings.trained(
            kind, name, student, plan, train_config, before, limit, left_s=left_s, held=zeros
        )
        history.append(record)
        if kind == "step":
            rewind(student, plan, begun_with)
    lacking = [name for name in plan.layers if not has_zeros(weight_of(student, name), plan)]
    if lacking:
        raise StageError("sparsity", f"{lacking[0]} has fewer zeros after its training than the plan wants")
    share.end(REASON)
    return PruneOutcome(
        module=student,
        plan=plan,
        baseline=before,
        history=tuple(history),
        reason=REASON,
        shortened=any(record.shortened for record in history),
        opened=trainings.opened,
        aside=history[-1].aside,
    )


def rewind(network: torch.nn.Module, plan: SparsePlan, weights: dict[str, torch.Tensor]) -> None:
    """Put `weights`, a state, into the network, but for the zeros that it has."""
    import torch

    live = {name: weight_of(network, name) != 0 for name in plan.layers}
    network.load_state_dict(weights)
    with torch.no_grad():
        for name, mask in live.items():
            weight_of(network, name).mul_(mask)


def has_zeros(weight: torch.Tensor, plan: SparsePlan) -> bool:
    """Whether a layer [O, I, ...] has the plan's pattern and no fewer zeros than it says."""
    zeros = weight == 0
    if plan.sparsity.pattern == "2:4":
        last = zeros.movedim(1, -1)
        return bool((last.reshape(*last.shape[:-1], -1, 4).sum(-1) >= 2).all())
    return int(zeros.sum()) >= round(plan.sparsity.ratio * weight.numel())


def load_sparse(path: Path, original: torch.nn.Module) -> torch.nn.Module:
    """What was trained and saved, on a copy of `original`. Raises ModelError when it does not fit."""
    return load_saved(path, lambda plan: copy.deepcopy(folded(original)).eval())
