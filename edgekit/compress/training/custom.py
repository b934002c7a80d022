"""A loss or a training step of the user's own: which arguments it is given, and what is told when it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgekit.errors import StageError, UserError
from edgekit.reference import describe, load_function

if TYPE_CHECKING:
    import torch

__all__ = [
    "CRITERION_ARGUMENTS",
    "LOSS_ARGUMENTS",
    "STEP_ARGUMENTS",
    "call_checked",
    "load_loss",
    "load_step",
    "takes_teacher",
]

LOSS_ARGUMENTS = "(outputs, labels, teacher_outputs)"
CRITERION_ARGUMENTS = "(outputs, labels)"
STEP_ARGUMENTS = "(student, inputs, labels, teacher)"
TEACHER_NAMES = ("teacher", "guide")


def load_loss(spec: str) -> Callable[..., Any]:
    """The function of (outputs, labels, teacher_outputs), or of (outputs, labels). Raises UserError for another."""
    function = _load("loss", spec)
    if not _takes(function, 3) and not _takes(function, 2):
        raise UserError(
            f"loss {spec} takes {_told(function)}", allowed=f"{LOSS_ARGUMENTS} or {CRITERION_ARGUMENTS}"
        )
    takes_teacher(function, spec)
    return function


def load_step(spec: str) -> Callable[..., Any]:
    """The function of (student, inputs, labels, teacher). Raises UserError for another."""
    function = _load("step", spec)
    if not _takes(function, 4):
        raise UserError(f"step {spec} takes {_told(function)}", allowed=STEP_ARGUMENTS)
    return function


def takes_teacher(function: Callable[..., Any], spec: str) -> bool:
    """Whether a loss is given the teacher's outputs, too.

    A third parameter with a default is most often something else (`gamma=2.0`, F.cross_entropy's `weight=None`), and
    tensors put there may go through unseen: it counts where it is called teacher… or guide…. Raises UserError for any
    other.
    """
    if not _takes(function, 3):
        return False
    if not _takes(function, 2):
        return True
    third = [*_parameters(function)][2:3]
    if not third or third[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return True  # *args takes what comes
    name = third[0].name
    if name.startswith(TEACHER_NAMES):
        return True
    raise UserError(
        f"loss {spec} has a third parameter with a default, {name!r}: it may not be the teacher's outputs",
        allowed=f"{LOSS_ARGUMENTS} or {CRITERION_ARGUMENTS}",
        remedy=f"wrap it, as lambda outputs, labels: {spec.partition('@')[0]}(outputs, labels)",
    )


def call_checked(function: Callable[..., Any], spec: str, taken: str, *arguments: object) -> torch.Tensor:
    """One scalar with a gradient from `function`, which is called as `taken`.

    Raises StageError for what it raises, and for anything else that it gives.
    """
    import torch

    try:
        value = function(*arguments)
    except Exception as problem:
        raise StageError("finetune", f"{spec} of {taken} raised {describe(problem)}") from problem
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        got = (
            f"a tensor of shape {tuple(value.shape)}"
            if isinstance(value, torch.Tensor)
            else type(value).__name__
        )
        raise StageError("finetune", f"{spec} gave {got}", "give one scalar tensor with a gradient")
    return value.reshape(())


def _load(kind: str, spec: str) -> Callable[..., Any]:
    function = load_function(spec, UserError)
    if isinstance(function, type):
        name = function.__name__
        raise UserError(
            f"{kind} {spec} is a class", allowed="a function", remedy=f"give an object, as {name}()"
        )
    return function


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that may be given by place; of a torch module its forward's."""
    called = getattr(function, "forward", function)
    return [
        parameter
        for parameter in inspect.signature(called).parameters.values()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments; what tells nothing of itself may."""
    called = getattr(function, "forward", function)
    try:
        inspect.signature(called).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin
        return True
    return True


def _told(function: Callable[..., Any]) -> str:
    return f"({', '.join(str(parameter) for parameter in _parameters(function))})"
