"""Puts together the loss of one training step from the configuration, the teacher and the data.

A user's loss is called as `loss(outputs, labels, teacher_outputs)`: the student's outputs as the network returns
them, labels [N, ...] or None, the teacher's outputs or None. A user's step is called as
`step(student, inputs, labels, teacher)`: the modules, the (augmented) input tensors, labels or None, the teacher
or None. Both give one scalar tensor that can be differentiated. Files that they open when they are called count as
what they depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.compress.base import forward_outputs
from edgekit.compress.training.distill import OutputKind, distillation_loss, hard_loss, output_kind
from edgekit.compress.training.goal import Goal, find_goal
from edgekit.errors import DataError, StageError, UserError
from edgekit.opened import FileWatch
from edgekit.reference import load_function

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgekit.compress.training.config import TrainConfig

__all__ = ["LossFunction", "make_loss"]

LossFunction = Callable[
    ["torch.nn.Module", "tuple[torch.Tensor, ...]", "torch.Tensor | None"],
    "torch.Tensor",
]
"""(student, inputs, labels) → scalar."""


def make_loss(
    config: TrainConfig,
    teacher: torch.nn.Module | None,
    labels: NDArray[np.generic] | None,
    watch: FileWatch | None = None,
) -> LossFunction:
    """The loss of (student, inputs, labels); `labels`: those of all samples, [N, ...], which say what they teach.

    Where they fit no output, the teacher's outputs alone are learnt. `watch` is told of the files that a function of
    the user's reads. Raises DataError where there is nothing to learn from.
    """
    around = (watch or FileWatch()).around
    if config.step is not None:
        return _custom_step(around(load_function(config.step, UserError)), config.step, teacher)
    if config.loss is not None:
        return _custom_loss(around(load_function(config.loss, UserError)), config.loss, teacher)
    if teacher is None and labels is None:
        raise DataError("there are neither labels nor a teacher to learn from", remedy="give one of them")
    return _standard(config, teacher, labels)


def _standard(
    config: TrainConfig, teacher: torch.nn.Module | None, all_labels: NDArray[np.generic] | None
) -> LossFunction:
    import torch

    goal: Goal | None = None
    is_known = False

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        nonlocal goal, is_known
        outputs = forward_outputs(student, inputs)
        if not is_known:
            goal, is_known = find_goal(all_labels, outputs), True
        hard = None if goal is None or labels is None else hard_loss(outputs, labels, goal)
        if hard is not None and (teacher is None or config.alpha == 1.0):
            return hard
        if teacher is None:
            raise DataError(
                "the labels fit none of the outputs", remedy="give a teacher, or a loss of your own"
            )
        with torch.no_grad():
            guides = forward_outputs(teacher, inputs)
        soft = distillation_loss(outputs, guides, _kinds(guides, goal), config.temperature)
        return soft if hard is None else config.alpha * hard + (1.0 - config.alpha) * soft

    return loss_of


def _kinds(guides: tuple[torch.Tensor, ...], goal: Goal | None) -> tuple[OutputKind, ...]:
    """What the outputs are; one that targets are for holds values, whatever it looks like."""
    targeted = goal.output if goal is not None and goal.kind == "values" else None
    return tuple("values" if index == targeted else output_kind(guide) for index, guide in enumerate(guides))


def _custom_loss(
    function: Callable[..., torch.Tensor], reference: str, teacher: torch.nn.Module | None
) -> LossFunction:
    import torch

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        guide = None
        if teacher is not None:
            with torch.no_grad():
                guide = teacher(*inputs)
        return _scalar(function(student(*inputs), labels, guide), reference)

    return loss_of


def _custom_step(
    function: Callable[..., torch.Tensor], reference: str, teacher: torch.nn.Module | None
) -> LossFunction:
    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        return _scalar(function(student, inputs, labels, teacher), reference)

    return loss_of


def _scalar(value: object, reference: str) -> torch.Tensor:
    import torch

    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        got = (
            f"a tensor of shape {tuple(value.shape)}"
            if isinstance(value, torch.Tensor)
            else type(value).__name__
        )
        raise StageError("finetune", f"{reference} gave {got}", "give one scalar tensor with a gradient")
    return value.reshape(())
