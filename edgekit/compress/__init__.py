"""Compression of float networks with torch: structured pruning, fine-tuning, distillation."""

from __future__ import annotations

from edgekit.compress.base import NoProgress, Progress, Samples
from edgekit.compress.evaluate import accuracy, agreement
from edgekit.compress.finetune import TrainReport, finetune
from edgekit.compress.iterate import IterateConfig, PruneOutcome, StepRecord, prune_iteratively
from edgekit.compress.plan import PrunePlan, PruneStep
from edgekit.compress.prune import (
    Prunable,
    PruneConfig,
    apply_plan,
    propose,
    propose_uniform,
    propose_widths,
    prunable,
)
from edgekit.compress.saved import load_pruned, save_pruned
from edgekit.compress.trainconfig import TrainConfig

__all__ = [
    "IterateConfig",
    "NoProgress",
    "Progress",
    "Prunable",
    "PruneConfig",
    "PruneOutcome",
    "PrunePlan",
    "PruneStep",
    "Samples",
    "StepRecord",
    "TrainConfig",
    "TrainReport",
    "accuracy",
    "agreement",
    "apply_plan",
    "finetune",
    "load_pruned",
    "propose",
    "propose_uniform",
    "propose_widths",
    "prunable",
    "prune_iteratively",
    "save_pruned",
]
