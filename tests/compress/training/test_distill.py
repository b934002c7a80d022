from __future__ import annotations

import pytest
import torch

from edgekit.compress.training.distill import distillation_loss, hard_loss
from edgekit.compress.training.goal import Goal
from edgekit.compress.training.kinds import output_kind, output_kinds


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


def test_masks_learn_the_chances_at_each_position() -> None:
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows = [scores.movedim(1, -1).reshape(-1, 3) for scores in (student, teacher)]
    torch.testing.assert_close(
        distillation_loss([student], [teacher], ["logits"], 2.0),
        distillation_loss(rows[:1], rows[1:], ["logits"], 2.0),
    )
    goal = Goal(0, "positions")
    assert output_kinds([teacher], goal) == ("logits",)
    assert output_kinds([teacher.softmax(1)], goal) == ("probabilities",)
    assert output_kinds([teacher], None) == ("values",)


def test_vectors_of_length_one_are_embeddings() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    assert output_kind(vectors) == "values"
    assert output_kind(torch.eye(4)) == "probabilities"
    assert output_kind(2.0 * vectors) == "logits"


def test_outputs_that_are_said_to_be_values_are_some_but_for_what_class_numbers_are_for() -> None:
    scores, vectors = torch.randn(4, 3), torch.randn(4, 8)
    assert output_kinds([scores, vectors], Goal(0, "classes"), said=("values",)) == ("logits", "values")
    assert output_kinds([vectors], None, said=("values",)) == ("values",)
    assert output_kinds([vectors, scores], Goal(1, "values"), ("relations",)) == ("logits", "relations")
