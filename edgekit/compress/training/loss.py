"""Puts together the loss of one training step from the configuration, the teacher and the data.

A user's loss is called as `loss(outputs, labels, teacher_outputs)`: the student's outputs as the network returns
them, int64 labels [N] or None, the teacher's outputs or None. A user's step is called as
`step(student, inputs, labels, teacher)`: the modules, the (augmented) input tensors, labels or None, the teacher
or None. Both give one scalar tensor that can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgekit.compress.base import forward_outputs
from edgekit.compress.training.distill import distillation_loss, hard_loss, output_kind
from edgekit.errors import DataError, StageError, UserError
from edgekit.reference import load_function

if TYPE_CHECKING:
    import torch

    from edgekit.compress.training.config import TrainConfig

__all__ = ["LossFunction", "make_loss"]

LossFunction = Callable[
    ["torch.nn.Module", "tuple[torch.Tensor, ...]", "torch.Tensor | None"],
    "torch.Tensor",
]
"""(student, inputs, labels) → scalar."""


def make_loss(config: TrainConfig, teacher: torch.nn.Module | None, labelled: bool) -> LossFunction:
    """The loss of (student, inputs, labels). Raises DataError where there is nothing to learn from."""
    if config.step is not None:
        return _custom_step(load_function(config.step, UserError), config.step, teacher)
    if config.loss is not None:
        return _custom_loss(load_function(config.loss, UserError), config.loss, teacher)
    if teacher is None and not labelled:
        raise DataError("there are neither labels nor a teacher to learn from", remedy="give one of them")
    return _standard(config, teacher)


def _standard(config: TrainConfig, teacher: torch.nn.Module | None) -> LossFunction:
    import torch

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        guides: tuple[torch.Tensor, ...] | None = None
        outputs = forward_outputs(student, inputs)
        alpha = config.alpha if teacher is not None else 1.0
        if alpha < 1.0 and teacher is not None:
            with torch.no_grad():
                guides = forward_outputs(teacher, inputs)
        kinds = tuple(output_kind(output) for output in (guides or outputs))
        if labels is None or all(kind == "values" for kind in kinds):
            alpha = 0.0
        if alpha == 1.0 and labels is not None:
            return hard_loss(outputs, labels, kinds)
        if guides is None and teacher is not None:
            with torch.no_grad():
                guides = forward_outputs(teacher, inputs)
        if guides is None:
            raise DataError(
                "labels are one class each, but the network gives no class scores",
                remedy="give a teacher, or a loss of your own",
            )
        soft = distillation_loss(outputs, guides, kinds, config.temperature)
        if alpha == 0.0 or labels is None:
            return soft
        return alpha * hard_loss(outputs, labels, kinds) + (1.0 - alpha) * soft

    return loss_of


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
