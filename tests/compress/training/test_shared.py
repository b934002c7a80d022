"""A teacher's outputs computed once for several students: the same weights, without the teacher."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import PruneConfig, TeacherOutputs, TrainConfig, finetune, propose_widths, train_planned
from edgekit.compress.training.accelerate import multiplies_bf16
from tests.compress import nets

CONFIG = TrainConfig(epochs=2, batch_size=16, augment="crop-flip", device="cpu")
STEPS = 12


class Counted(nets.Plain):
    """Counts the batches that it sees in evaluation, over all copies."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            Counted.calls += 1
        return super().forward(x)


class Shifted(Counted):
    """Of the same weights and the same description, with another result: only its outputs tell."""

    shift = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1.0 + self.shift)


def network(kind: type[nn.Module] = nets.Plain, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return kind().eval()


def trained(
    shared: TeacherOutputs | None, teacher: nn.Module, config: TrainConfig = CONFIG, seed: int = 1
) -> tuple[dict[str, torch.Tensor], int]:
    """Weights, and how many batches the teacher saw."""
    student = network(seed=seed)
    Counted.calls = 0
    finetune(student, nets.random_samples(), config, teacher=teacher, shared=shared)
    return copy.deepcopy(student.state_dict()), Counted.calls


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_second_student_has_the_same_weights_without_the_teacher() -> None:
    teacher, shared = network(Counted, 2), TeacherOutputs()
    alone, whole = trained(None, teacher)
    other_alone, _ = trained(None, teacher, seed=5)
    first, computed = trained(shared, teacher)
    second, again = trained(shared, teacher, seed=5)
    assert (whole, computed, again, shared.reused) == (STEPS, STEPS, 1, STEPS - 1)
    assert same(alone, first)
    assert same(other_alone, second)


def test_a_longer_training_takes_what_a_shorter_one_has() -> None:
    teacher, shared = network(Counted, 2), TeacherOutputs()
    trained(shared, teacher)
    longer = TrainConfig(epochs=3, batch_size=16, augment="crop-flip", device="cpu")
    assert trained(shared, teacher, longer)[1] == 6 + 1


@pytest.mark.parametrize("change", [{"seed": 3}, {"batch_size": 12}, {"augment": "flip"}])
def test_other_batches_are_computed(change: dict[str, Any]) -> None:
    teacher, shared = network(Counted, 2), TeacherOutputs()
    trained(shared, teacher)
    trained(shared, teacher, TrainConfig(**{**vars(CONFIG), **change}))
    assert shared.reused == 0


def test_another_teacher_is_computed() -> None:
    shared = TeacherOutputs()
    trained(shared, network(Counted, 2))
    other = network(Counted, 3)
    alone, _ = trained(None, other)
    assert same(alone, trained(shared, other)[0])
    assert shared.reused == 0


def test_a_teacher_whose_code_gives_something_else_is_computed_anew() -> None:
    teacher, shared = network(Shifted, 2), TeacherOutputs()
    trained(shared, teacher)
    teacher.shift = 0.5  # type: ignore[assignment]
    alone, _ = trained(None, teacher)
    weights, calls = trained(shared, teacher)
    assert (calls, shared.reused) == (STEPS, 0)
    assert same(alone, weights)


def test_what_does_not_fit_is_computed_again() -> None:
    element_bytes = 2 if multiplies_bf16("cpu") else 4  # a CPU that has bf16 trains in it
    teacher, one_batch_bytes = network(Counted, 2), 16 * 4 * element_bytes
    shared = TeacherOutputs(limit_bytes=3 * one_batch_bytes)
    trained(shared, teacher)
    weights, calls = trained(shared, teacher)
    assert calls == STEPS - 2  # of three that are kept the first is looked at again
    assert same(weights, trained(None, teacher)[0])


def test_a_loss_of_ones_own_that_is_given_the_teacher_s_outputs_gets_them_anew(tmp_path: Path) -> None:
    body = "def mine(outputs, labels, teacher_outputs):\n    return (outputs - teacher_outputs).square().mean()\n"
    (tmp_path / "mine.py").write_text(body)
    config = TrainConfig(epochs=2, batch_size=16, device="cpu", loss=f"{tmp_path}/mine.py:mine")
    teacher, shared = network(Counted, 2), TeacherOutputs()
    trained(shared, teacher, config)
    assert trained(shared, teacher, config)[1] == STEPS


def test_plans_that_are_trained_alike_share_the_original_s_outputs() -> None:
    original, example = network(Counted, 2), nets.image_example()
    plans = [propose_widths(original, example, {"conv1": width}, PruneConfig(round_to=4)) for width in (8, 4)]
    shared = TeacherOutputs()

    def weights(number: int, kept: TeacherOutputs | None) -> dict[str, torch.Tensor]:
        outcome = train_planned(
            original, example, nets.random_samples(), lambda module: 0.5, plans[number], CONFIG,
            limit=0.1, shared=kept,
        )  # fmt: skip
        return outcome.module.state_dict()

    for number in (0, 1):
        assert same(weights(number, None), weights(number, shared))
    assert shared.reused == STEPS - 1
