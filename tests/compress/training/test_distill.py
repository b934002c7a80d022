from __future__ import annotations

import pytest
import torch

from edgekit.compress.training.distill import distillation_loss, hard_loss, output_kind
from edgekit.compress.training.goal import Goal


def test_a_student_that_equals_its_teacher_has_no_soft_loss() -> None:
    logits = torch.randn(8, 5)
    assert distillation_loss([logits], [logits], ["logits"], 4.0).item() == pytest.approx(0.0, abs=1e-6)


def test_the_soft_loss_is_hintons() -> None:
    student, teacher = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    p, q = (teacher / 2.0).softmax(1), (student / 2.0).softmax(1)
    expected = 4.0 * float((p * (p / q).log()).sum())
    assert distillation_loss([student], [teacher], ["logits"], 2.0).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_probabilities_weigh_like_their_logits() -> None:
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    from_logits = distillation_loss([student], [teacher], ["logits"], 3.0)
    from_shares = distillation_loss([student.softmax(1)], [teacher.softmax(1)], ["probabilities"], 3.0)
    assert torch.allclose(from_logits, from_shares, rtol=1e-4)


def test_other_outputs_are_compared_by_scaled_squares() -> None:
    teacher = torch.randn(2, 10, 4)
    small = distillation_loss([teacher + 0.1], [teacher], ["values"], 4.0)
    large = distillation_loss([100 * (teacher + 0.1)], [100 * teacher], ["values"], 4.0)
    assert torch.allclose(small, large, rtol=1e-3)


def test_outputs_are_told_apart_by_rank_and_content() -> None:
    logits = torch.randn(4, 3)
    kinds = [output_kind(out) for out in (logits, logits.softmax(1), torch.randn(4, 3, 2), torch.randn(4, 1))]
    assert kinds == ["logits", "probabilities", "values", "values"]


def test_the_hard_loss_uses_the_output_that_labels_are_for() -> None:
    boxes, logits = torch.randn(4, 7, 4), torch.tensor([[9.0, 0.0]] * 4)
    assert hard_loss([boxes, logits], torch.zeros(4, dtype=torch.int64), Goal(1, "classes")).item() < 0.01
