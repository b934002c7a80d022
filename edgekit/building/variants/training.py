"""How pruned networks are trained in a build: configuration from the request, time that is left, data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.building.context import Workshop
from edgekit.compress import PruneConfig, TrainConfig
from edgekit.compress import accuracy as torch_accuracy
from edgekit.compress import agreement as torch_agreement
from edgekit.types import Candidate

if TYPE_CHECKING:
    import torch

    from edgekit.data import Split

__all__ = [
    "STEP_BATCHES",
    "at_least",
    "network_parts",
    "prune_config",
    "seconds_left",
    "train_split",
    "training_config",
    "training_deadline",
    "validator",
]

DEFAULT_EPOCHS = 12.0
STEP_BATCHES, FINAL_BATCHES = 25, 200  # fewer teach nothing
RESERVE_SHARE, RESERVE_S = 0.12, 60.0  # of the time limit, kept for exporting and measuring what was trained


def network_parts(shop: Workshop, config: PruneConfig) -> dict[str, Any]:
    """What the structure of a pruned network depends on."""
    return {
        "model": shop.setting.model.digest,
        "config": msgspec.to_builtins(config),
        "train_data": train_split(shop).digest,
    }


def prune_config(shop: Workshop, lead: Candidate) -> PruneConfig:
    """Channels in the multiples that the target's runtime likes at the leading precision."""
    options = shop.setting.request.train
    return PruneConfig(
        ratio_step=options.step_ratio,
        importance=options.importance,
        round_to=shop.setting.target.channel_multiple(lead.precision),
    )


def training_config(shop: Workshop) -> TrainConfig:
    """The final fine-tuning, as asked for."""
    options = shop.setting.request.train
    config: dict[str, Any] = {} if options.learning_rate is None else {"learning_rate": options.learning_rate}
    return TrainConfig(
        epochs=options.epochs or at_least(shop, DEFAULT_EPOCHS, FINAL_BATCHES),
        batch_size=options.batch_size,
        temperature=options.temperature,
        alpha=options.alpha,
        seed=shop.setting.request.seed,
        device=options.device,
        loss=options.loss,
        step=options.step,
        **config,
    )


def at_least(shop: Workshop, epochs: float, batches: int) -> float:
    """`epochs`, or as many as hold `batches` batches where the data set is small."""
    length, batch_size = len(train_split(shop)), shop.setting.request.train.batch_size
    return max(epochs, batches / max(1, length // min(batch_size, length)))


def training_deadline(shop: Workshop) -> float | None:
    """When training has to be over so that the rest fits into the time limit, on time.monotonic()'s clock."""
    limit = shop.setting.time_limit
    return None if limit is None else limit.ends - max(RESERVE_S, RESERVE_SHARE * limit.limit_s)


def train_split(shop: Workshop) -> Split:
    """The training samples; `why_not` made sure that there are some."""
    split = shop.setting.splits.train
    assert split is not None
    return split


def validator(shop: Workshop, original: torch.nn.Module) -> Any:
    """Module → accuracy on the validation split (agreement with the original where there are no labels)."""
    validation = shop.setting.splits.validation
    if validation.labelled:
        return lambda module: torch_accuracy(module, validation)
    return lambda module: torch_agreement(module, original, validation)


def seconds_left(shop: Workshop) -> float:
    """For training; infinite without a time limit."""
    deadline = training_deadline(shop)
    return float("inf") if deadline is None else deadline - time.monotonic()
