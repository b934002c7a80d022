"""A small detector learns from a larger one: what its outputs are said to be decides how much of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.compress import TrainConfig, finetune
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

SIDE, STRIDE = 24, 4
POINTS = (SIDE // STRIDE) ** 2


class Detector(nn.Module):
    """[N, 1, SIDE, SIDE] → logits of an object [N, 1, POINTS], and left, top, right, bottom of it in pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.scores, self.boxes = nn.Conv2d(2 * width, 1, 1), nn.Conv2d(2 * width, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.body(x)
        return self.scores(seen).flatten(2), 8.0 + 8.0 * self.boxes(seen).flatten(2)


def scenes(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noise with one bright rectangle of 5 to 12 pixels a side [N, 1, SIDE, SIDE], and where it is [N, 4]."""
    chance = np.random.default_rng(seed)
    sizes = chance.integers(5, 13, (count, 2))
    starts = (chance.random((count, 2)) * (SIDE + 1 - sizes)).astype(int)
    images = chance.normal(0.0, 0.3, (count, 1, SIDE, SIDE)).astype(np.float32)
    boxes = np.concatenate((starts, starts + sizes), 1)
    for image, (x0, y0, x1, y1) in zip(images, boxes, strict=True):
        image[0, y0:y1, x0:x1] += 1.0
    return images, boxes.astype(np.float32)


def middles() -> torch.Tensor:
    """x, y of each point [POINTS, 2]."""
    y, x = torch.meshgrid(torch.arange(SIDE // STRIDE), torch.arange(SIDE // STRIDE), indexing="ij")
    return (torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * STRIDE


def trained_teacher() -> nn.Module:
    """By the labels: points near an object's middle see it and tell their distances from its sides."""
    torch.manual_seed(0)
    network = Detector(24)
    images, boxes = map(torch.from_numpy, scenes(2000, 0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    middle = middles()
    for step in range(400):
        rows = torch.randint(0, len(images), (64,))
        scores, given = network(images[rows])
        low, high = boxes[rows, None, :2], boxes[rows, None, 2:]
        wanted = torch.cat((middle - low, high - middle), -1).transpose(1, 2)
        away = ((middle - (low + high) / 2).abs() / (high - low)).amax(-1)[:, None]
        inside = (away < 0.3).float()
        seen = nn.functional.binary_cross_entropy_with_logits(scores, inside)
        far = ((given - wanted).abs() * inside).sum() / (4 * inside.sum())
        optimizer.zero_grad()
        (seen + 0.2 * far).backward()
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 400)
        optimizer.step()
    return network.eval()


def overlap(network: nn.Module) -> float:
    """Mean intersection over union of the surest box and the object, on scenes that no network has learnt."""
    images, boxes = map(torch.from_numpy, scenes(500, 1))
    with torch.inference_mode():
        scores, given = network(images)
    best = scores[:, 0].argmax(1)
    sides = given[torch.arange(len(given)), :, best]
    middle = middles()[best]
    given_boxes = torch.cat((middle - sides[:, :2], middle + sides[:, 2:]), 1)
    low, high = (
        torch.maximum(given_boxes[:, :2], boxes[:, :2]),
        torch.minimum(given_boxes[:, 2:], boxes[:, 2:]),
    )
    shared = (high - low).clamp_min(0).prod(1)
    areas = [(part[:, 2:] - part[:, :2]).clamp_min(0).prod(1) for part in (given_boxes, boxes)]
    return float((shared / (areas[0] + areas[1] - shared)).mean())


def taught(teacher: nn.Module, outputs: str, seed: int) -> float:
    """The overlap of a small student that learnt without labels."""
    torch.manual_seed(seed)
    student = Detector(6)
    images, _ = scenes(1000, 2)
    config = TrainConfig(
        epochs=8, batch_size=32, optimizer="adamw", learning_rate=5e-3, augment="none", device="cpu",
        alpha=0.0, outputs=outputs, seed=seed,
    )  # fmt: skip
    finetune(student, nets.ArraySamples(images, None), config, teacher=teacher)
    return overlap(student)


def test_a_student_finds_more_by_scores_and_boxes_than_by_squares() -> None:
    """0.80 against 0.59 where it was written, of the teacher's 0.85; with seeds 1 to 3 at least 0.75 against 0.60."""
    teacher = trained_teacher()
    assert taught(teacher, "scores,boxes", 0) > taught(teacher, "values", 0) + 0.1
