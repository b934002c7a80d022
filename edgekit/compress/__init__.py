"""Compression of float networks with torch: structured pruning, low rank, sparsity, fine-tuning, distillation."""

from __future__ import annotations

from edgekit.compress.base import NetworkPlan, Samples
from edgekit.compress.depth.blocks import ResidualBlock, droppable_blocks
from edgekit.compress.depth.shallow import depth_text
from edgekit.compress.features import FeaturePairs, Features, refuse_unfit_features
from edgekit.compress.folding import folded
from edgekit.compress.lowrank.applying import asked_ranks, sample_batches
from edgekit.compress.lowrank.plan import FactorStep, LowRankPlan
from edgekit.compress.lowrank.ranks import RankOption, chosen_steps, plan_of, rank_options
from edgekit.compress.lowrank.training import factorized, load_low_rank, train_low_rank
from edgekit.compress.norms import reestimate_norms
from edgekit.compress.onnx_network import onnx_network
from edgekit.compress.pruning.distilling import METHOD
from edgekit.compress.pruning.dropping import propose_all_merged, propose_depth
from edgekit.compress.pruning.iterate import IterateConfig, prune_iteratively
from edgekit.compress.pruning.outcome import PruneOutcome, StepRecord
from edgekit.compress.pruning.plan import PrunePlan, PruneStep
from edgekit.compress.pruning.propose import (
    Prunable,
    PruneConfig,
    apply_plan,
    propose,
    propose_widths,
    prunable,
)
from edgekit.compress.pruning.saved import load_pruned, save_pruned
from edgekit.compress.pruning.single import look_at, train_planned
from edgekit.compress.sensitivity.harm import BlockHarm, GroupHarm, LayerHarm, MeasuredWidth, Sensitivity
from edgekit.compress.sensitivity.measure import (
    SensitivityConfig,
    joined,
    measure_blocks,
    measure_sensitivity,
    sensitivity_parts,
)
from edgekit.compress.sparsity.layers import sparse_plan
from edgekit.compress.sparsity.plan import SparsePlan
from edgekit.compress.sparsity.training import load_sparse, sparsified, train_sparse
from edgekit.compress.student import load_student, refuse_other_outputs, train_student
from edgekit.compress.teachers import Teacher, Teachers
from edgekit.compress.training.aside import hold_aside
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.custom import load_loss, load_step, takes_teacher
from edgekit.compress.training.evaluate import accuracy, agreement
from edgekit.compress.training.finetune import TrainReport, finetune
from edgekit.compress.training.goal import fits
from edgekit.compress.training.kinds import read_outputs, refuse_unfit_outputs
from edgekit.compress.training.pace import forward_seconds
from edgekit.compress.training.shared import TeacherOutputs
from edgekit.compress.training.trial import try_training

__all__ = [
    "METHOD",
    "BlockHarm",
    "FactorStep",
    "FeaturePairs",
    "Features",
    "GroupHarm",
    "IterateConfig",
    "LayerHarm",
    "LowRankPlan",
    "MeasuredWidth",
    "NetworkPlan",
    "Prunable",
    "PruneConfig",
    "PruneOutcome",
    "PrunePlan",
    "PruneStep",
    "RankOption",
    "ResidualBlock",
    "Samples",
    "Sensitivity",
    "SensitivityConfig",
    "SparsePlan",
    "StepRecord",
    "Teacher",
    "TeacherOutputs",
    "Teachers",
    "TrainConfig",
    "TrainReport",
    "accuracy",
    "agreement",
    "apply_plan",
    "asked_ranks",
    "chosen_steps",
    "depth_text",
    "droppable_blocks",
    "factorized",
    "finetune",
    "fits",
    "folded",
    "forward_seconds",
    "hold_aside",
    "joined",
    "load_loss",
    "load_low_rank",
    "load_pruned",
    "load_sparse",
    "load_step",
    "load_student",
    "look_at",
    "measure_blocks",
    "measure_sensitivity",
    "onnx_network",
    "plan_of",
    "propose",
    "propose_all_merged",
    "propose_depth",
    "propose_widths",
    "prunable",
    "prune_iteratively",
    "rank_options",
    "read_outputs",
    "reestimate_norms",
    "refuse_other_outputs",
    "refuse_unfit_features",
    "refuse_unfit_outputs",
    "sample_batches",
    "save_pruned",
    "sensitivity_parts",
    "sparse_plan",
    "sparsified",
    "takes_teacher",
    "train_low_rank",
    "train_planned",
    "train_sparse",
    "train_student",
    "try_training",
]
