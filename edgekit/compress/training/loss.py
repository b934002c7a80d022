"""Puts together the loss of one training step from the configuration, the teacher and the data.

A user's loss is called as `loss(outputs, labels, teacher_outputs)`: the student's outputs as the network returns
them, labels [N, ...] or None, the teacher's outputs or None; or as `loss(outputs, labels)`, in cross-entropy's place
alone: the teacher is learnt from by `alpha` as ever. A user's step is called as
`step(student, inputs, labels, teacher)`: the modules, the (augmented) input tensors, labels or None, the teacher
or None. Both give one scalar tensor that can be differentiated. Files that they open when they are called count as
what they depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgekit.compress.base import flat_outputs, forward_outputs
from edgekit.compress.showing import ShownOutput, shown_outputs
from edgekit.compress.training.custom import (
    CRITERION_ARGUMENTS,
    LOSS_ARGUMENTS,
    STEP_ARGUMENTS,
    call_checked,
    load_loss,
    load_step,
    takes_teacher,
)
from edgekit.compress.training.distill import distillation_loss, hard_loss
from edgekit.compress.training.goal import Goal, find_goal
from edgekit.compress.training.kinds import output_kinds, read_outputs
from edgekit.compress.training.shared import GuideFunction, TeacherOutputs, guiding
from edgekit.errors import DataError
from edgekit.opened import FileWatch

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

Watching = Callable[[Callable[..., "torch.Tensor"]], Callable[..., "torch.Tensor"]]
"""A user's function → the same, watched for what it reads."""


def make_loss(
    config: TrainConfig,
    teacher: torch.nn.Module | None,
    labels: NDArray[np.generic] | None,
    watch: FileWatch | None = None,
    shared: TeacherOutputs | None = None,
) -> LossFunction:
    """The loss of (student, inputs, labels); `labels`: those of all samples, [N, ...], which say what they teach.

    Where they fit no output, the teacher's outputs alone are learnt. `watch` is told of the files that a function of
    the user's reads. `shared` is asked for the teacher's outputs first, but not for a user's function that is given the
    teacher, or what it returns. Raises DataError where there is nothing to learn from.
    """
    around = (watch or FileWatch()).around
    guide_of = None
    if teacher is not None:
        guide_of = guiding(teacher) if shared is None else shared.of(teacher)
    if config.step is not None:
        return _custom_step(config.step, teacher, around)
    if config.loss is not None:
        return _custom_loss(config, teacher, guide_of, labels, around)
    if teacher is None and labels is None:
        raise DataError("there are neither labels nor a teacher to learn from", remedy="give one of them")
    return _standard(config, guide_of, labels, shown_outputs(teacher))


def _standard(
    config: TrainConfig,
    guide_of: GuideFunction | None,
    all_labels: NDArray[np.generic] | None,
    shown: Sequence[ShownOutput] = (),
) -> LossFunction:
    goal: Goal | None = None
    is_known, said = False, read_outputs(config.outputs)

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        nonlocal goal, is_known
        outputs = forward_outputs(student, inputs)
        if not is_known:
            own = outputs[
                : len(outputs) - len(shown)
            ]  # a layer that is shown may look as what labels are for
            goal, is_known = find_goal(all_labels, own), True
        hard = None if goal is None or labels is None else hard_loss(outputs, labels, goal)
        if hard is not None and (guide_of is None or config.alpha == 1.0):
            return hard
        if guide_of is None:
            raise DataError(
                "the labels fit none of the outputs", remedy="give a teacher, or a loss of your own"
            )
        guides = guide_of(inputs)
        soft = distillation_loss(outputs, guides, output_kinds(guides, goal, shown, said), config.temperature)
        return soft if hard is None else config.alpha * hard + (1.0 - config.alpha) * soft

    return loss_of


def _custom_loss(
    config: TrainConfig,
    teacher: torch.nn.Module | None,
    guide_of: GuideFunction | None,
    all_labels: NDArray[np.generic] | None,
    around: Watching,
) -> LossFunction:
    import torch

    reference = config.loss or ""
    given = load_loss(reference)
    function = around(given)
    if not takes_teacher(given, reference):
        return _criterion(config, function, guide_of, all_labels)

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        guide = None
        if teacher is not None:
            with torch.no_grad():
                guide = teacher(*inputs)
        return call_checked(function, reference, LOSS_ARGUMENTS, student(*inputs), labels, guide)

    return loss_of


def _criterion(
    config: TrainConfig,
    function: Callable[..., torch.Tensor],
    guide_of: GuideFunction | None,
    all_labels: NDArray[np.generic] | None,
) -> LossFunction:
    """A loss of (outputs, labels) in cross-entropy's place: the teacher goes on teaching beside it."""
    said = read_outputs(config.outputs)

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        outputs = student(*inputs)
        hard = call_checked(function, config.loss or "", CRITERION_ARGUMENTS, outputs, labels)
        if guide_of is None or config.alpha == 1.0:
            return hard
        guides = guide_of(inputs)
        parts = flat_outputs(outputs)
        kinds = output_kinds(guides, find_goal(all_labels, parts), said=said)
        soft = distillation_loss(parts, guides, kinds, config.temperature)
        return config.alpha * hard + (1.0 - config.alpha) * soft

    return loss_of


def _custom_step(reference: str, teacher: torch.nn.Module | None, around: Watching) -> LossFunction:
    function = around(load_step(reference))

    def loss_of(
        student: torch.nn.Module, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        return call_checked(function, reference, STEP_ARGUMENTS, student, inputs, labels, teacher)

    return loss_of
