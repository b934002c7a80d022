"""A student of an architecture of its own, which learns from the original: what both have to share, its training."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import Samples, example_tensors, flat_outputs
from edgekit.compress.features import NOTHING, Features, with_features
from edgekit.compress.folding import folded
from edgekit.compress.onnx_network import is_onnx, onnx_macs
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.outcome import PruneOutcome
from edgekit.compress.pruning.saved import load_saved
from edgekit.compress.pruning.single import train_once
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.kinds import OutputKind, output_kinds
from edgekit.errors import ModelError, in_one_line
from edgekit.progress import Step
from edgekit.types import OutputsAre

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["load_student", "refuse_other_outputs", "train_student"]

REASON = "distilled"
WORDS: dict[OutputKind, str] = {
    "logits": "class scores",
    "probabilities": "probabilities",
    "scores": "logits of scores",
    "chances": "scores from 0 to 1",
}
"""What messages call a kind, where it is not its name."""

FEW = 8
"""Logits that may all lie from 0 to 1 as chances do: of so few it is not known which they are."""

_FORWARD_ERRORS = (RuntimeError, ValueError, LookupError, TypeError, AssertionError, AttributeError)


@dataclass(frozen=True)
class StudentPlan:
    """A student by its name and MACs, and the features that it learns. Its structure is its own."""

    name: str
    original_macs: int
    macs: int
    features: Features = NOTHING

    @property
    def fraction(self) -> float:
        """Its MACs divided by the original's (1.0 when nothing is counted)."""
        return self.macs / self.original_macs if self.original_macs else 1.0

    @property
    def lines(self) -> tuple[str, ...]:
        """Whose student it is, for people."""
        first = f"student: {self.name}, {self.fraction:.0%} of the original's MACs"
        return (first, *self.features.lines)

    def to_json(self) -> str:
        """One JSON object."""
        fields = {
            "student": self.name,
            "original_macs": self.original_macs,
            "macs": self.macs,
            "features": list(self.features.pairs()),
        }
        return json.dumps(fields, separators=(",", ":"))


def refuse_other_outputs(
    student: torch.nn.Module,
    original: torch.nn.Module,
    example: Example,
    whose: str = "the student",
    said: Sequence[OutputsAre] = ("auto",),
) -> None:
    """Both have to take the example's inputs and give outputs of the same names and shapes, and of the same kind.

    `whose`: what messages call the student. `said`: what outputs are, see `read_outputs`. An ONNX file names no outputs
    here: there their order counts. Raises ModelError in one line, with what each gives.
    """
    wanted, given = _outputs(original, example, "the original"), _outputs(student, example, whose)
    plain = is_onnx(original) or is_onnx(student)
    ours, theirs = (
        [("" if plain else name, tuple(tensor.shape)) for name, tensor in side] for side in (given, wanted)
    )
    if ours != theirs:
        raise ModelError(
            f"{whose} gives {_text(ours)}, the original {_text(theirs)}",
            remedy="a student learns from its teacher's outputs: all have to give the same ones, in the same order",
        )
    kinds, others = (
        output_kinds([tensor for _, tensor in side], None, said=said) for side in (given, wanted)
    )
    for position, (kind, other) in enumerate(zip(kinds, others, strict=True)):
        unclear = {kind, other} == {"scores", "chances"} and given[position][1].numel() < FEW
        if kind != other and not unclear:
            raise ModelError(
                f"output {position} of {whose} holds {WORDS.get(kind, kind)}, that of the original "
                f"{WORDS.get(other, other)}",
                remedy="both have to end alike: with a softmax or sigmoid or without, scaled to length one or not",
            )


def train_student(
    original: torch.nn.Module,
    student: torch.nn.Module,
    name: str,
    example: Example,
    train: Samples,
    validate: Callable[[torch.nn.Module], float],
    train_config: TrainConfig,
    *,
    limit: float,
    baseline: float | None = None,
    features: Features = NOTHING,
    teacher: torch.nn.Module | None = None,
    within: str = "",
    progress: Step | None = None,
    folder: Path | None = None,
    deadline: float | None = None,
) -> PruneOutcome:
    """Train a copy of `student` with `teacher` (None: the original); see `train_planned` for the rest.

    All of its parameters learn, but for those that its author froze. `features`: what it learns of layers of both, by
    the standard loss; `within`: what stands before the names of the teacher's. A teacher that is worse than it is told
    of. Raises ModelError for features that do not match.
    """
    learning = copy.deepcopy(folded(student)).eval()
    plan = StudentPlan(name, _macs(original, example), _macs(learning, example), features)
    untrained = validate(learning)
    teaching, pupil, judge = folded(teacher or original), learning, validate
    taught = validate(teaching)
    if features:
        teaching, pupil = with_features(teaching, learning, example, features, train_config.seed, within)
        judge = lambda showing: validate(showing.get_submodule("network"))  # noqa: E731
    outcome = train_once(
        teaching, pupil, train, judge, plan, train_config, REASON, limit=limit,
        baseline=taught if baseline is None else baseline, progress=progress, folder=folder, deadline=deadline,
    )  # fmt: skip
    told = notes(taught, untrained, outcome.history[-1].accuracy)
    return dataclasses.replace(outcome, module=learning, notes=told)


def _macs(network: torch.nn.Module, example: Example) -> int:
    return onnx_macs(network) if is_onnx(network) else network_macs(network, example)


def notes(teacher: float, before: float, after: float) -> tuple[str, ...]:
    """Sentences on scores (fractions) of the original and of the student before and after its training."""
    told = []
    if before > teacher:
        told.append(
            f"the teacher is worse than the student was before it learnt: {teacher:.2%} against {before:.2%}; "
            "labels alone may serve it better (--alpha 1)"
        )
    elif after > teacher:
        told.append(f"the student has become better than its teacher: {after:.2%} against {teacher:.2%}")
    if after < before:
        told.append(f"the training has cost the student accuracy: {before:.2%} before, {after:.2%} after")
    return tuple(told)


def load_student(path: Path, student: torch.nn.Module) -> torch.nn.Module:
    """The trained student on a copy of `student` as it was given. Raises ModelError when it does not fit."""
    return load_saved(path, lambda _: copy.deepcopy(folded(student)).eval())


def _outputs(module: torch.nn.Module, example: Example, whose: str) -> tuple[tuple[str, torch.Tensor], ...]:
    """Name ("" without one) and tensor of each output, in order."""
    import torch

    try:
        with torch.no_grad():
            outputs = module.eval()(*example_tensors(example))
    except _FORWARD_ERRORS as error:
        shapes = ", ".join(f"{array.dtype} {list(array.shape)}".removeprefix("torch.") for array in example)
        raise ModelError(
            f"{whose} does not take the inputs ({shapes}): {type(error).__name__}: {in_one_line(error)}",
            remedy="both networks are given the same samples, preprocessed alike",
        ) from error
    return tuple(_named(outputs))


def _named(value: Any, name: str = "") -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, Mapping):
        return [
            output
            for key, part in value.items()
            for output in _named(part, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, (tuple, list)):
        return [output for part in value for output in _named(part, name)]
    return [(name, tensor) for tensor in flat_outputs(value)]


def _text(outputs: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    if not outputs:
        return "no output"
    return ", ".join(f"{name} {list(shape)}".strip() for name, shape in outputs)
