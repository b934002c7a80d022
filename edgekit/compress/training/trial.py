"""One call of the user's own loss or step, before anything is measured or trained."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgekit.compress.base import Samples, to_tensor
from edgekit.compress.training.loss import make_loss
from edgekit.errors import StageError, UserError

if TYPE_CHECKING:
    import torch

    from edgekit.compress.training.config import TrainConfig

__all__ = ["try_training"]

TRIAL_BATCH = 8


def try_training(
    network: torch.nn.Module, data: Samples, config: TrainConfig, teacher: torch.nn.Module | None = None
) -> None:
    """Call the loss or step of `config` on a few samples, with the network as student and `teacher` (None: itself).

    `network` stays as it is. Raises UserError for what would end each training at its first batch.
    """
    import torch

    if config.loss is None and config.step is None:
        return
    batch = next(iter(data.batches(min(TRIAL_BATCH, len(data)))))
    inputs = tuple(to_tensor(array) for array in batch.inputs)
    labels = None if batch.labels is None else torch.as_tensor(batch.labels)
    student, guide = (copy.deepcopy(module).cpu() for module in (network, teacher or network))
    student.train()
    guide.eval()
    try:
        with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
            make_loss(config, guide, data.labels)(student, inputs, labels)
    except StageError as problem:
        raise UserError(problem.cause, remedy=problem.remedy) from problem
