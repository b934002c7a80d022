"""What a student learns of many places of which few matter, and what the user may say that outputs are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import TrainConfig
from edgekit.compress.training.dense import boxes_apart, confidence, maps_apart, scores_apart
from edgekit.compress.training.distill import distillation_loss
from edgekit.compress.training.goal import Goal
from edgekit.compress.training.kinds import output_kinds, read_outputs, refuse_unfit_outputs
from edgekit.compress.training.means import mean_outputs
from edgekit.errors import ModelError, UserError


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class Giving(nn.Module):
    """A network of given outputs."""

    def __init__(self, *outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.outputs


def test_maps_are_compared_as_the_paper_does_over_the_distance_from_even_maps() -> None:
    """Shu et al. 2021, equations 4 and 5, channel by channel."""
    student, teacher, temperature = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), 2.0
    apart = even = 0.0
    for sample in range(2):
        for channel in range(3):
            p, q = ((maps[sample, channel].flatten() / temperature).softmax(0) for maps in (teacher, student))
            apart += float((p * (p / q).log()).sum())
            even += float((p * (p * 20).log()).sum())
    assert maps_apart(student, teacher, temperature).item() == pytest.approx(apart / even, rel=1e-4)
    assert maps_apart(torch.ones(2, 3, 4, 5), teacher, 7.0).item() == pytest.approx(1.0, rel=1e-4)
    assert maps_apart(teacher + torch.randn(2, 3, 1, 1), teacher, 4.0).item() == pytest.approx(0.0, abs=1e-5)


def test_scores_are_compared_by_the_quality_focal_loss() -> None:
    """Li et al. 2020, equation 4, number by number."""
    student, teacher = torch.randn(2, 3, 5), 4.0 * torch.randn(2, 3, 5)
    total = 0.0
    for ours, theirs in zip(student.sigmoid().flatten(), teacher.sigmoid().flatten(), strict=True):
        entropy = -((1 - theirs) * (1 - ours).log() + theirs * ours.log())
        total += float((theirs - ours).abs() ** 2 * entropy)
    wanted = total / float(teacher.sigmoid().sum())
    assert scores_apart(student, teacher).item() == pytest.approx(wanted, rel=1e-4)
    as_shares = distillation_loss([student.sigmoid()], [teacher.sigmoid()], ["chances"], 4.0)
    assert as_shares.item() == pytest.approx(wanted, rel=1e-3)


def test_places_where_both_see_nothing_neither_add_nor_thin_out() -> None:
    student, teacher = torch.randn(1, 2, 6), torch.randn(1, 2, 6)
    empty = torch.full((1, 2, 5000), -12.0)
    alone = scores_apart(student, teacher)
    among = scores_apart(torch.cat((student, empty), 2), torch.cat((teacher, empty), 2))
    assert among.item() == pytest.approx(alone.item(), rel=0.02)
    thinned = [
        distillation_loss([torch.cat((out, empty), 2)], [torch.cat((teacher, empty), 2)], ["values"], 4.0)
        for out in (student, teacher + 0.01)
    ]
    assert thinned[0].item() < 0.1 * alone.item()


@pytest.mark.parametrize("axis", [1, 2])
def test_boxes_count_where_the_teacher_sees_something(axis: int) -> None:
    scores = torch.tensor([[[9.0, -20.0, -20.0, 9.0]], [[-20.0, 9.0, 9.0, -20.0]]]).repeat(1, 1, 3)
    boxes = torch.randn(2, 4, 12)
    wrong_elsewhere = boxes + 5.0 * (scores < 0.0)
    wrong_there = boxes + 5.0 * (scores > 0.0)
    teacher = [part.movedim(1, axis) for part in (scores, boxes)]
    sure = confidence(teacher, ["scores", "boxes"], 1)
    assert sure.shape == scores.movedim(1, axis).shape
    apart = [boxes_apart(out.movedim(1, axis), teacher[1], sure) for out in (wrong_elsewhere, wrong_there)]
    assert apart[0].item() < 1e-6
    assert apart[1].item() > 1.0
    in_pixels = boxes_apart(100.0 * wrong_there.movedim(1, axis), 100.0 * teacher[1], sure)
    assert in_pixels.item() == pytest.approx(apart[1].item(), rel=1e-4)


def test_a_mean_box_costs_about_one_and_far_boxes_by_their_distance() -> None:
    teacher, sure = torch.randn(4, 4, 50), torch.ones(4, 1, 50)
    mean_box = teacher.mean((0, 2), keepdim=True).expand_as(teacher)
    assert boxes_apart(mean_box, teacher, sure).item() == pytest.approx(1.0, abs=0.05)
    near, far = (boxes_apart(teacher + away, teacher, sure).item() for away in (8.0, 16.0))
    assert far == pytest.approx(2.0 * near, rel=0.01)


def test_scores_of_an_object_and_of_its_class_make_sure_together() -> None:
    there, classes, boxes = torch.randn(2, 1, 3, 5), torch.randn(2, 7, 3, 5), torch.randn(2, 4, 3, 5)
    elsewhere = torch.randn(2, 7, 6, 10)
    kinds: Any = ["scores", "scores", "boxes", "scores"]
    sure = confidence([there, classes, boxes, elsewhere], kinds, 2)
    torch.testing.assert_close(sure, there.sigmoid() * classes.sigmoid().amax(1, keepdim=True))


def test_embeddings_are_compared_by_their_direction() -> None:
    vectors, other = torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    assert distillation_loss([3.0 * vectors], [vectors], ["embedding"], 4.0).item() == pytest.approx(
        0.0, abs=1e-6
    )
    wanted = 1.0 - torch.cosine_similarity(other, vectors, dim=-1).mean()
    torch.testing.assert_close(distillation_loss([other], [vectors], ["embedding"], 4.0), wanted)


def test_what_is_said_of_outputs_holds_but_for_what_class_numbers_are_for() -> None:
    scores, vectors, maps = torch.randn(4, 3), torch.randn(4, 8), torch.randn(4, 3, 5, 5)
    goal = Goal(0, "classes")
    assert output_kinds([scores, vectors], goal, said=("embedding",)) == ("logits", "embedding")
    assert output_kinds([scores, vectors], goal, said=("values", "auto")) == ("values", "logits")
    assert output_kinds([maps, vectors], None, said=("logits", "embedding")) == ("logits", "embedding")
    assert output_kinds([maps.softmax(1)], None, said=("logits",)) == ("probabilities",)
    assert output_kinds([maps, maps.sigmoid()], None, said=("scores",)) == ("scores", "chances")
    assert output_kinds([vectors, scores], Goal(0, "values"), ("maps",), ("auto",)) == ("values", "maps")
    assert output_kinds([scores], Goal(0, "values"), said=("scores",)) == ("scores",)


def test_several_detectors_teach_by_what_each_is_sure_of() -> None:
    sure, blank = torch.full((1, 2, 3), 20.0), torch.full((1, 2, 3), -20.0)
    boxes = torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    (scores, box) = mean_outputs(
        [(sure, boxes[0]), (blank, boxes[1])], (0.25, 0.75), ["scores", "boxes"], 4.0
    )
    torch.testing.assert_close(scores.sigmoid(), torch.full((1, 2, 3), 0.25))
    torch.testing.assert_close(box, boxes[0], atol=1e-4, rtol=1e-4)


def test_several_maps_teach_as_their_weighted_losses_do() -> None:
    """The divergence of a mean differs from the mean divergence by what does not depend on the student."""
    teachers = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    (joined,) = mean_outputs([(teacher,) for teacher in teachers], (0.3, 0.7), ["maps"], 2.0)

    def divergence(student: torch.Tensor, teacher: torch.Tensor) -> float:
        logs = [(maps.flatten(2) / 2.0).log_softmax(2) for maps in (student, teacher)]
        return float(nn.functional.kl_div(logs[0], logs[1], reduction="sum", log_target=True))

    apart = [
        divergence(student, joined)
        - 0.3 * divergence(student, teachers[0])
        - 0.7 * divergence(student, teachers[1])
        for student in torch.randn(3, 2, 3, 4, 4)
    ]
    assert apart == pytest.approx([apart[0]] * 3, abs=1e-3)
    vectors = torch.randn(2, 8), torch.randn(2, 8)
    (mean,) = mean_outputs([(part,) for part in vectors], (0.5, 0.5), ["embedding"], 2.0)
    torch.testing.assert_close(mean, sum(0.5 * nn.functional.normalize(part) for part in vectors))


@pytest.mark.parametrize("given", ["score", "scores,", "", "scores;boxes", None, 3, "values,mask"])
def test_other_words_are_refused_with_those_that_are_known(given: Any) -> None:
    for read in (read_outputs, lambda word: TrainConfig(outputs=word)):
        with pytest.raises(
            UserError, match=r"outputs is .*; allowed: auto, logits, values, .* as scores,boxes"
        ):
            read(given)
    assert read_outputs("scores, boxes") == ("scores", "boxes")


SCORES, BOXES = torch.randn(1, 3, 20), torch.randn(1, 4, 20)


@pytest.mark.parametrize(
    ("outputs", "said", "told"),
    [
        ((SCORES, BOXES), "scores,boxes,values", r"says what 3 are \(scores,boxes,values\), and the network gives 2"),
        ((SCORES, BOXES), "boxes,scores", r"output 0 .* boxes, it is float32 \[1, 3, 20\]; allowed: floats \[N, 4"),
        ((SCORES, torch.randn(1, 4, 4)), "scores,boxes", r"output 1 is said to be boxes, it is float32 \[1, 4, 4\]"),
        ((SCORES, torch.randn(1, 4, 30)), "scores,boxes", r"boxes \[1, 4, 30\], and no scores are of the same places"),
        ((SCORES, torch.randn(1, 20, 4)), "scores,boxes", r"boxes \[1, 20, 4\], and no scores are of the same places"),
        ((BOXES,), "boxes", "and no scores are of the same places; .*; without scores say values"),
        ((torch.randn(1, 8, 1),), "maps", r"said to be maps, it is float32 \[1, 8, 1\]"),
        ((torch.randn(1, 8),), "maps", r"said to be maps, it is float32 \[1, 8\]"),
        ((torch.randn(1, 1),), "logits", "said to be logits"),
        ((torch.randn(1, 8, 3, 3),), "embedding", r"embedding, it is float32 \[1, 8, 3, 3\]; allowed: floats \[N, C\]"),
        ((torch.ones(1, 8, dtype=torch.int64),), "scores", r"said to be scores, it is int64 \[1, 8\]"),
    ],
)  # fmt: skip
def test_what_outputs_cannot_be_is_told_in_one_line(
    outputs: tuple[torch.Tensor, ...], said: str, told: str
) -> None:
    with pytest.raises(ModelError, match=told) as refused:
        refuse_unfit_outputs(Giving(*outputs), (torch.zeros(1),), read_outputs(said))
    assert "\n" not in str(refused.value)


def test_what_outputs_can_be_is_taken() -> None:
    channels_last = SCORES.transpose(1, 2), BOXES.transpose(1, 2)
    for outputs in ((SCORES, BOXES), channels_last, (SCORES, torch.randn(1, 1, 20), BOXES)):
        said = read_outputs("scores," * (len(outputs) - 1) + "boxes")
        refuse_unfit_outputs(Giving(*outputs), (torch.zeros(1),), said)
