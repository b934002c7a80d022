"""How the detector learns, and how its outputs are read: loss(...) for --loss, decode(...) for --metric."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from detector_networks import CLASSES, points
from numpy.typing import NDArray
from torch.nn import functional

__all__ = ["decode", "loss", "plain_loss"]

NEAREST = 10
"""Points that a box may take; of those in it, the best by class and overlap."""

GUIDED = 0.5
"""The teacher's share of the loss."""

LOWEST_SCORE, OVERLAP, LARGEST = 0.02, 0.6, 4.0


def decode(outputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float64]]:
    """For each sample [boxes, 6]: class, score, x0, y0, x1, y1, after non-maximum suppression in each class."""
    scores, distances = sorted(outputs.values(), key=lambda array: array.shape[1])
    boxes = as_boxes(torch.as_tensor(distances)).numpy().astype(np.float64)
    chances = 1 / (1 + np.exp(-np.asarray(scores, np.float64)))
    answers = []
    for of_sample, chance in zip(boxes, chances, strict=True):
        rows = [
            np.column_stack((np.full(len(kept), label), chance[label, kept], of_sample[kept]))
            for label in range(CLASSES)
            for kept in [suppressed(of_sample, chance[label])]
        ]
        answers.append(np.concatenate(rows))
    return answers


def suppressed(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which boxes [points, 4] stay: the best first, each without those that it covers."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > LOWEST_SCORE][:300]
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        overlaps = overlap(torch.as_tensor(boxes[[best]]), torch.as_tensor(boxes[order]))[0].numpy()
        order = order[overlaps <= OVERLAP]
    return np.array(kept, np.int64)


def as_boxes(distances: torch.Tensor) -> torch.Tensor:
    """Logarithms of distances [N, 4, points], in strides → x0, y0, x1, y1 in pixels [N, points, 4]."""
    grid = points().to(distances)
    reach = distances.clamp(-LARGEST, LARGEST).exp().transpose(1, 2) * grid[:, 2:]
    return torch.cat((grid[:, :2] - reach[..., :2], grid[:, :2] + reach[..., 2:]), -1)


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes [..., n, 4] and [..., m, 4]: [..., n, m]."""
    a, b = a.unsqueeze(-2), b.unsqueeze(-3)
    shared = (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    return shared / (area(a) + area(b) - shared).clamp(min=1e-6)


def area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def plain_loss(outputs: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Without a teacher. Labels [N, boxes, 5] of class, x0, y0, x1, y1; rows of class -1 are padding.

    Points are given to boxes by score and overlap (Feng et al. 2021, arXiv:2108.07755): a box takes the NEAREST best of
    the points in it, a point the box that it overlaps most. Their scores are to tell the overlap.
    """
    logits, distances = outputs[0].float(), outputs[1].float()
    boxes = as_boxes(distances)
    with torch.no_grad():
        wanted, taken, target = assigned(logits, boxes, labels.float())
    total = wanted.sum().clamp(min=1.0)
    classes = functional.binary_cross_entropy_with_logits(logits, wanted.transpose(1, 2), reduction="sum")
    weight = wanted.sum(-1)[taken]
    return (classes + 2.5 * (weight * missed(boxes[taken], target[taken])).sum()) / total


def assigned(
    logits: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores that points are to have [N, points, CLASSES]; which have a box [N, points]; their boxes [N, points, 4]."""
    real = labels[..., 0] >= 0
    kinds = labels[..., 0].clamp(min=0).long()
    middle = points().to(boxes)[:, :2]
    inside = ((middle > labels[..., None, 1:3]) & (middle < labels[..., None, 3:5])).all(-1) & real[..., None]
    overlaps = overlap(labels[..., 1:], boxes) * inside
    chance = logits.sigmoid().gather(1, kinds[..., None].expand(-1, -1, logits.shape[2]))
    fit = (chance.sqrt() * overlaps.pow(6)).masked_fill(~inside, -1.0)
    best = fit.topk(min(NEAREST, fit.shape[2]), -1).indices
    chosen = torch.zeros_like(inside).scatter_(2, best, True) & inside
    rivals = torch.where(chosen, overlaps + 1e-6, torch.zeros_like(overlaps))
    owner = rivals.argmax(1)
    taken = rivals.max(1).values > 0
    own = functional.one_hot(owner, labels.shape[1]).transpose(1, 2).bool() & chosen
    strength = torch.where(own, fit.clamp(min=0.0), torch.zeros_like(fit))
    most = torch.where(own, overlaps, torch.zeros_like(overlaps)).amax(-1, keepdim=True)
    strength = (strength / strength.amax(-1, keepdim=True).clamp(min=1e-9) * most).amax(1)
    rows = torch.arange(len(labels), device=labels.device)[:, None]
    wanted = functional.one_hot(kinds[rows, owner], CLASSES) * (strength * taken)[..., None]
    return wanted.to(logits), taken, labels[rows, owner][..., 1:]


def missed(boxes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 less the generalized overlap of pairs [n, 4] (Rezatofighi et al. 2019, arXiv:1902.09630)."""
    shared = (
        (torch.minimum(boxes[:, 2:], target[:, 2:]) - torch.maximum(boxes[:, :2], target[:, :2]))
        .clamp(min=0)
        .prod(-1)
    )
    union = (area(boxes) + area(target) - shared).clamp(min=1e-6)
    around = torch.cat(
        (torch.minimum(boxes[:, :2], target[:, :2]), torch.maximum(boxes[:, 2:], target[:, 2:])), -1
    )
    hull = area(around).clamp(min=1e-6)
    return 1.0 - shared / union + (hull - union) / hull


def loss(
    outputs: tuple[torch.Tensor, torch.Tensor],
    labels: torch.Tensor,
    teacher_outputs: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """The labels', and the teacher's: its scores, and its boxes as far as it is sure of them."""
    by_labels = plain_loss(outputs, labels)
    if teacher_outputs is None:
        return by_labels
    logits, guide = outputs[0].float(), teacher_outputs[0].float().sigmoid()
    sure = guide.amax(1)
    total = sure.sum().clamp(min=1.0)
    away = (logits.sigmoid() - guide).square().detach()
    classes = (away * functional.binary_cross_entropy_with_logits(logits, guide, reduction="none")).sum()
    ours, theirs = as_boxes(outputs[1].float()), as_boxes(teacher_outputs[1].float())
    boxes = (sure * missed(ours.reshape(-1, 4), theirs.reshape(-1, 4)).reshape(sure.shape)).sum()
    return (1.0 - GUIDED) * by_labels + GUIDED * (4.0 * classes + 2.5 * boxes) / total
