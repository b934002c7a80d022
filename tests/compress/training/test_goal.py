"""Labels of every kind teach: which output, by which loss, and what a pruned network is judged by on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.compress import TrainConfig, accuracy, finetune, fits
from edgekit.compress.training.augment import resolve_augment
from edgekit.compress.training.distill import hard_loss
from edgekit.compress.training.goal import Goal, find_goal, moves_with_the_image
from edgekit.compress.training.loss import make_loss
from tests.compress.nets import ArraySamples

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((96, 3, 8, 8)).astype(np.float32)
TARGETS = np.stack([8 * X.mean((1, 2, 3)), 8 * X[:, 0].mean((1, 2)) - 1.0], axis=1).astype(np.float32)
MAPS = (X[:, 0] > 0).astype(np.uint8)


def regression() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(3, 2))


def segmentation() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))


@pytest.mark.parametrize(
    ("labels", "shapes", "goal"),
    [
        (np.arange(4), [(4, 7, 3), (4, 4)], Goal(1, "classes")),
        (np.zeros((4, 6, 8), np.uint8), [(4, 3, 6, 8)], Goal(0, "positions")),
        (np.full((4, 6, 8), 255), [(4, 3, 6, 8)], Goal(0, "positions")),
        (np.zeros((4, 5), np.float32), [(4, 3), (4, 5)], Goal(1, "values")),
        (np.arange(4) + 20, [(4, 10)], None),  # numbers of samples, for a metric of the user's
        (np.full((4, 6, 8), 3), [(4, 3, 6, 8)], None),
        (np.zeros((4, 9, 4), np.float32), [(4, 10)], None),
    ],
)
def test_labels_teach_the_output_that_they_fit(
    labels: np.ndarray, shapes: list[tuple[int, ...]], goal: Goal | None
) -> None:
    assert find_goal(labels, [torch.zeros(shape) for shape in shapes]) == goal


@pytest.mark.parametrize(("make", "labels"), [(regression, TARGETS), (segmentation, MAPS)])
@pytest.mark.parametrize("with_teacher", [False, True])
def test_training_on_targets_and_maps_learns_them(
    make: object, labels: np.ndarray, with_teacher: bool
) -> None:
    student, data = make(), ArraySamples(X, labels)
    before = accuracy(student, data)
    config = TrainConfig(epochs=60, batch_size=32, learning_rate=0.2, alpha=0.9)
    teacher = make() if with_teacher else None
    if teacher is not None:
        finetune(teacher, data, config)
    finetune(student, data, config, teacher=teacher)
    after = accuracy(student, data)
    assert before is not None
    assert after is not None
    assert after > max(0.6, before + 0.1)


def test_targets_are_distilled_as_values_and_not_as_classes() -> None:
    """Softmax forgets an offset: a student that is off by one everywhere would lose nothing."""
    teacher, student = regression(), regression()
    with torch.no_grad():
        student[2].bias += 1.0
    inputs = (torch.from_numpy(X),)
    config = TrainConfig(alpha=0.0)
    as_values = make_loss(config, teacher, TARGETS)(student, inputs, torch.from_numpy(TARGETS))
    as_classes = make_loss(config, teacher, None)(student, inputs, None)
    assert as_values.item() > 0.1
    assert as_classes.item() < 1e-6


def test_positions_of_255_teach_nothing() -> None:
    scores = torch.randn(2, 3, 4, 4)
    labels = torch.full((2, 4, 4), 255)
    assert float(hard_loss([scores], labels, Goal(0, "positions"))) == 0.0
    labels[0, 0, 0] = 1
    expected = torch.nn.functional.cross_entropy(scores[:1, :, 0, 0], torch.tensor([1]))
    assert float(hard_loss([scores], labels, Goal(0, "positions"))) == pytest.approx(float(expected))
    softmax = hard_loss([scores.softmax(1)], labels, Goal(0, "positions"))
    assert float(softmax) == pytest.approx(float(expected), rel=1e-4)


def test_labels_that_fit_nothing_leave_the_teacher() -> None:
    data = ArraySamples(X, np.arange(96) + 50)
    assert not fits(data, regression())
    assert accuracy(regression(), data) is None
    finetune(regression(), data, TrainConfig(epochs=1, batch_size=32), teacher=regression())


@pytest.mark.parametrize(
    ("labels", "moves"), [(None, False), (np.arange(4), False), (MAPS, True), (TARGETS, True)]
)
def test_images_stay_where_their_labels_are(labels: np.ndarray | None, moves: bool) -> None:
    assert moves_with_the_image(labels) == moves
    assert resolve_augment("auto", (4, 3, 32, 32), moves) == ("none" if moves else "crop-flip")
