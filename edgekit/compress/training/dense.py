"""What is learnt of a teacher at many places of which few matter: maps of features, a detector's scores and boxes.

maps: channel-wise distillation (CWD: Shu et al. 2021, arXiv:2011.13256, equations 4 and 5): each channel is a softmax
over positions, and Kullback-Leibler between both. Where the paper multiplies by T^2 and a weight for each network, it
is divided by the teacher's distance from even maps here, so that one of even maps costs 1, at any temperature.

scores: cross-entropy with the teacher's chance, weighed by the square of how far the student is from it (quality focal
loss: Li et al. 2020, arXiv:2006.04388, equation 4, beta 2), as a sum over the teacher's chances: thousands of places
where both see nothing neither drown the few objects nor thin them out.

boxes: smooth L1, weighed by the teacher's confidence at each place, over their mean distance from the mean box, so that
pixels and logarithms of strides weigh alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.training.kinds import CORNERS, OutputKind, as_logits, box_axis, scores_axis

if TYPE_CHECKING:
    import torch

__all__ = ["boxes_apart", "confidence", "maps_apart", "scores_apart"]

FOCUS = 2.0
"""Beta of the quality focal loss."""

SMOOTH = 0.1
"""Where a box's error, in mean distances, begins to count by its square."""


def maps_apart(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of channels [N, C, ...]: KL(teacher || student) over positions, divided by KL(teacher || even)."""
    import torch

    student_log, teacher_log = (
        (maps.float().flatten(2) / temperature).log_softmax(2) for maps in (student, teacher)
    )
    divergence = torch.nn.functional.kl_div
    apart = divergence(student_log, teacher_log, reduction="sum", log_target=True)
    even = torch.zeros_like(teacher_log).log_softmax(2)
    return apart / (divergence(even, teacher_log, reduction="sum", log_target=True) + 1e-8)


def scores_apart(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Of logits of any shape, each a chance by itself."""
    import torch

    wanted = teacher.sigmoid()
    away = (student.sigmoid() - wanted).abs().detach() ** FOCUS
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(student, wanted, reduction="none")
    return (away * entropy).sum() / wanted.sum().clamp_min(1.0)


def boxes_apart(student: torch.Tensor, teacher: torch.Tensor, sure: torch.Tensor) -> torch.Tensor:
    """Of boxes [N, 4, ...] or [N, ..., 4]; `sure`: the teacher's confidence, with size 1 in the axis of four."""
    import torch

    wanted = teacher.float()
    axis = box_axis(wanted.shape)
    others = [index for index in range(wanted.ndim) if index != axis]
    sure = sure / (sure.sum() + 1e-8)
    middle = (sure * wanted).sum(others, keepdim=True)
    spread = (sure * (wanted - middle).abs()).sum() / CORNERS + 1e-8
    apart = torch.nn.functional.smooth_l1_loss(
        student.float() / spread, wanted / spread, reduction="none", beta=SMOOTH
    )
    return (sure * apart).sum() / CORNERS


def confidence(outputs: Sequence[torch.Tensor], kinds: Sequence[OutputKind], place: int) -> torch.Tensor:
    """How sure a network is of its boxes, output number `place`, at each place; of size 1 in the axis of four.

    The highest chance of all classes; where several outputs hold scores of the same places, as of an object and of its
    class, their product.
    """
    import torch

    boxes = outputs[place]
    axis = box_axis(boxes.shape)
    shape = [1 if index == axis else size for index, size in enumerate(boxes.shape)]
    sure = torch.ones(shape, device=boxes.device)
    for output, kind in zip(outputs, kinds, strict=True):
        if kind in ("scores", "chances"):
            classes = scores_axis(output.shape, boxes.shape)
            if classes is not None:
                sure = sure * as_logits(output, kind).sigmoid().amax(classes, keepdim=True)
    return sure
