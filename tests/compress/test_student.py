"""A student of another architecture: what it shares with the original, how it learns, what is told of its teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import (
    TrainConfig,
    accuracy,
    load_student,
    refuse_other_outputs,
    save_pruned,
    train_student,
)
from edgekit.compress.student import notes
from edgekit.errors import ModelError
from edgekit.testing.networks import TinyConvNet, TinyTransformer
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(1)
SAMPLES = nets.random_samples(96, channels=1, classes=10)
TRAIN = TrainConfig(epochs=2, batch_size=32, learning_rate=0.02, device="cpu", augment="none")


class Giving(nn.Module):
    """Gives what a function makes of its logits."""

    def __init__(self, given: Callable[[torch.Tensor], Any], classes: int = 10) -> None:
        super().__init__()
        self.head, self.given = nn.Linear(64, classes), given

    def forward(self, x: torch.Tensor) -> Any:
        return self.given(self.head(x.flatten(1)))


class Two(nn.Module):
    """Takes two inputs."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def small() -> nn.Module:
    torch.manual_seed(5)
    return TinyConvNet(4).eval()


def teacher() -> nn.Module:
    torch.manual_seed(3)
    return TinyTransformer().eval()


@pytest.mark.parametrize(
    ("student", "told"),
    [
        (Giving(lambda x: x, classes=7), r"the student gives \[1, 7\], the original \[1, 10\]"),
        (Giving(lambda x: (x, x)), r"the student gives \[1, 10\], \[1, 10\], the original \[1, 10\]"),
        (Giving(lambda x: {"logits": x}), r"the student gives logits \[1, 10\], the original \[1, 10\]"),
        (Giving(lambda x: {"a": {"b": [x]}}), r"the student gives a.b \[1, 10\], the original"),
        (Giving(lambda x: None), r"the student gives no output, the original \[1, 10\]"),
        (Two(), r"the student does not take the inputs \(float32 \[1, 1, 8, 8\]\): TypeError"),
        (nn.Linear(3, 10), r"the student does not take the inputs .*RuntimeError: mat1 and mat2"),
    ],
)
def test_a_student_that_does_not_fit_is_told_in_one_line(student: nn.Module, told: str) -> None:
    with pytest.raises(ModelError, match=told) as refused:
        refuse_other_outputs(student, teacher(), EXAMPLE)
    assert "\n" not in str(refused.value)


def test_outputs_of_the_same_names_and_shapes_fit() -> None:
    refuse_other_outputs(small(), teacher(), EXAMPLE)
    named = Giving(lambda x: {"logits": x, "more": x})
    refuse_other_outputs(named, Giving(lambda x: {"logits": x, "more": x}), EXAMPLE)
    with pytest.raises(ModelError, match="in the same order"):
        refuse_other_outputs(named, Giving(lambda x: {"more": x, "logits": x}), EXAMPLE)


def test_a_student_learns_is_kept_and_is_loaded_as_it_was(tmp_path: Path) -> None:
    student, before = small(), small().state_dict()

    def trained(folder: Path) -> Any:
        return train_student(
            teacher(), student, "small", EXAMPLE, SAMPLES, lambda module: accuracy(module, SAMPLES) or 0.0, TRAIN,
            limit=1.0, folder=folder,
        )  # fmt: skip

    outcome = trained(tmp_path)
    assert outcome.plan.lines[0].startswith("student: small, ")
    assert 0 < outcome.plan.fraction < 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    state = outcome.module.state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in state.items())
    save_pruned(tmp_path / "x.safetensors", outcome.module, outcome.plan)
    for other in (trained(tmp_path).module, load_student(tmp_path / "x.safetensors", small())):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in state.items())
    with pytest.raises(ModelError, match="does not fit"):
        load_student(tmp_path / "x.safetensors", TinyConvNet(8))


@pytest.mark.parametrize(
    ("teacher", "before", "after", "told"),
    [
        (0.9, 0.1, 0.8, ()),
        (
            0.8,
            0.9,
            0.95,
            ("the teacher is worse than the student was before it learnt: 80.00% against 90.00%",),
        ),
        (0.8, 0.1, 0.85, ("the student has become better than its teacher: 85.00% against 80.00%",)),
        (
            0.8,
            0.9,
            0.7,
            ("the teacher is worse", "the training has cost the student accuracy: 90.00% before"),
        ),
        (0.9, 0.8, 0.7, ("the training has cost the student accuracy: 80.00% before, 70.00% after",)),
    ],
)
def test_a_teacher_that_is_worse_is_told(
    teacher: float, before: float, after: float, told: tuple[str, ...]
) -> None:
    lines = notes(teacher, before, after)
    assert len(lines) == len(told)
    assert all(line.startswith(begin) for line, begin in zip(lines, told, strict=True))


def test_the_outcome_tells_of_a_worse_teacher() -> None:
    scores = iter((0.9, 0.5, 0.95))  # the student as it came, the teacher, the student afterwards
    outcome = train_student(
        teacher(), small(), "small", EXAMPLE, SAMPLES, lambda _: next(scores), TRAIN, limit=1.0
    )
    assert outcome.notes[0].startswith("the teacher is worse than the student was before it learnt: 50.00%")
