"""How pruned networks are trained in a build: configuration from the request, time that is left, validation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.building.request import TrainOptions
from edgekit.building.time_limit import TimeLimit
from edgekit.compress import PruneConfig, TrainConfig
from edgekit.compress import accuracy as torch_accuracy
from edgekit.compress import agreement as torch_agreement

if TYPE_CHECKING:
    import torch

    from edgekit.data import Split

__all__ = [
    "STEP_BATCHES",
    "at_least",
    "prune_config",
    "seconds_left",
    "training_config",
    "training_deadline",
    "training_for",
    "validator",
]

DEFAULT_EPOCHS = 12.0
STEP_BATCHES, FINAL_BATCHES = 25, 200  # fewer teach nothing
RESERVE_SHARE, RESERVE_S = 0.12, 60.0  # of the time limit, kept for exporting and measuring what was trained


def prune_config(options: TrainOptions, channel_multiple: int) -> PruneConfig:
    """Channels in the multiples that the target's runtime likes at the leading precision."""
    return PruneConfig(
        ratio_step=options.step_ratio, importance=options.importance, round_to=channel_multiple
    )


def training_config(options: TrainOptions, seed: int, samples: int) -> TrainConfig:
    """The final fine-tuning on `samples` samples, as asked for."""
    return TrainConfig(
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        epochs=options.epochs or at_least(FINAL_BATCHES, DEFAULT_EPOCHS, samples, options.batch_size),
        batch_size=options.batch_size,
        temperature=options.temperature,
        alpha=options.alpha,
        seed=seed,
        device=options.device,
        loss=options.loss,
        step=options.step,
        outputs=options.outputs,
    )


def at_least(batches: int, epochs: float, samples: int, batch_size: int) -> float:
    """`epochs`, or as many as hold `batches` batches where the data set is small."""
    return max(epochs, batches / max(1, samples // min(batch_size, samples)))


def training_deadline(limit: TimeLimit | None) -> float | None:
    """When training has to be over so that the rest fits into the time limit, on time.monotonic()'s clock."""
    return None if limit is None else limit.ends - max(RESERVE_S, RESERVE_SHARE * limit.limit_s)


def training_for(limit: TimeLimit | None, seconds: float) -> TimeLimit | None:
    """The limit, with training over after so many seconds at the latest."""
    if limit is None:
        return None
    reserve_s = max(RESERVE_S, RESERVE_SHARE * limit.limit_s)
    return replace(limit, ends=min(limit.ends, time.monotonic() + seconds + reserve_s))


def seconds_left(limit: TimeLimit | None) -> float:
    """For training; infinite without a time limit."""
    deadline = training_deadline(limit)
    return float("inf") if deadline is None else deadline - time.monotonic()


def validator(validation: Split, original: torch.nn.Module) -> Callable[[torch.nn.Module], float]:
    """Module → accuracy on the validation split; agreement with the original without labels that fit."""

    def validate(module: torch.nn.Module) -> float:
        score = torch_accuracy(module, validation) if validation.labelled else None
        return torch_agreement(module, original, validation) if score is None else score

    return validate
