"""One quantization-aware training by all that its weights depend on, and what it writes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.building.request import TrainOptions
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.job import CutShortError
from edgekit.building.variants.training import at_least
from edgekit.compress import TrainConfig
from edgekit.compress.qat.training import METHOD, QatOutcome, train_for_integers
from edgekit.opened import merged
from edgekit.quantize.placement import Placement

if TYPE_CHECKING:
    from edgekit.data import Split
    from edgekit.progress import Step

__all__ = ["NETWORK", "STAGE", "QatJob", "qat_config", "train_integers"]

STAGE = "qat"
NETWORK = "trained.onnx"
EPOCHS, LEAST_BATCHES = 6.0, 200
LEARNING_RATE = 1e-3
ASIDE, MOST_ASIDE = 0.1, 2000
"""Share of the training samples that only choose between weights, and the most of them."""

AVERAGE = 0.99
"""Decay of the average of the weights: those near the middle of two integers swing between them (Nagel et al. 2022,
"Overcoming Oscillations in Quantization-Aware Training", arXiv:2203.11086)."""


@dataclass(frozen=True)
class QatJob:
    """`network`: digest of the float ONNX file; see TrainingJob for `code` and `opened`."""

    network: str
    train_digest: str
    placement: Placement
    train: TrainConfig
    code: tuple[str, ...] = ()
    opened: tuple[tuple[str, str], ...] = ()

    def key_parts(self) -> dict[str, Any]:
        """Every field; the number of the method stands for our code."""
        return {**msgspec.to_builtins(self), "method": METHOD}

    def cut_parts(self, limit: TimeLimit) -> dict[str, Any]:
        """What a network depends on whose training `limit` cut short."""
        return {**self.key_parts(), "time_limit_s": limit.limit_s}

    def having_opened(self, opened: tuple[tuple[str, str], ...]) -> QatJob:
        """The same where these files are read."""
        return replace(self, opened=opened)


def qat_config(options: TrainOptions, seed: int, samples: int) -> TrainConfig:
    """How networks are trained for integers on `samples` samples: gently, since they are trained already."""
    epochs = options.qat_epochs or at_least(LEAST_BATCHES, EPOCHS, samples, options.batch_size)
    return TrainConfig(
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        optimizer="adamw",
        weight_decay=0.0,
        batch_size=options.batch_size,
        temperature=options.temperature,
        alpha=options.alpha,
        seed=seed,
        device=options.device,
        loss=options.loss,
        step=options.step,
        outputs=options.outputs,
        aside=min(ASIDE, MOST_ASIDE / max(1, samples)),
        average=AVERAGE,
    )


def train_integers(
    job: QatJob,
    onnx_path: Path,
    samples: Split,
    scratch: Path,
    deadline: float | None,
    step: Step,
    folder: Path,
) -> dict[str, Any]:
    """Train and write NETWORK into `folder`; gives the meta of its entry. `scratch`: for the checkpoint; `deadline` on
    time.monotonic()'s clock: the schedule is shortened to end by then.

    Raises StageError, CutShortError.
    """
    checkpoint = scratch / "qat.checkpoint.safetensors"
    outcome = train_for_integers(
        onnx_path,
        job.placement,
        samples,
        job.train,
        progress=step,
        checkpoint=checkpoint,
        time_limit_s=None if deadline is None else max(0.0, deadline - time.monotonic()),
    )
    merged(dict(job.opened), outcome.opened)  # what the key says was read, if it was read
    checkpoint.unlink(missing_ok=True)
    if outcome.stopped:
        raise CutShortError(partial(_save, outcome))
    return _save(outcome, folder)


def _save(outcome: QatOutcome, folder: Path) -> dict[str, Any]:
    import onnx

    onnx.save(outcome.model, str(folder / NETWORK))
    return {
        "before": outcome.before,
        "after": outcome.after,
        "kept": outcome.kept,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "opened": outcome.opened,
    }
