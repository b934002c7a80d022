"""The training loss: hard labels, a teacher's outputs, or both.

Classification: L = alpha * CE(labels) + (1 - alpha) * T^2 * KL(teacher / T || student / T), Hinton et al.
2015 (arXiv:1503.02531). Masks, [N, classes, H, W] whose labels are maps of class numbers: the same, as the mean over
positions. Outputs that are not class scores: mean squared error to the teacher's outputs, divided by the variance of
the teacher's output, so that several outputs weigh alike. So are outputs that the labels' targets are for: the softmax
of coordinates means nothing. Relations of samples (see `compress/showing`): Huber's loss (Park et al. 2019, equations 5
and 7) divided by half of the variance, which of small differences is the same. Embeddings: 1 less the cosine. What a
detector gives, and maps of features: see `dense.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.compress.training.dense import boxes_apart, confidence, maps_apart, scores_apart
from edgekit.compress.training.kinds import OutputKind, as_logits, output_kind, scores_kind
from edgekit.labels import IGNORED

if TYPE_CHECKING:
    import torch

    from edgekit.compress.training.goal import Goal

__all__ = ["distillation_loss", "hard_loss"]


def hard_loss(outputs: Sequence[torch.Tensor], labels: torch.Tensor, goal: Goal) -> torch.Tensor:
    """The loss of one output against labels [N, ...], as `goal` says.

    Class numbers: mean cross-entropy. Maps of them: mean cross-entropy over the positions that are not 255. Targets:
    mean squared error divided by the variance of the targets in the batch, as for a teacher's outputs.
    """
    import torch

    output = outputs[goal.output]
    if goal.kind == "values":
        wanted = labels.reshape(output.shape).float()
        return (output.float() - wanted).square().mean() / (wanted.var(unbiased=False) + 1e-8)
    if goal.kind == "classes":
        scores = output.reshape(len(output), -1)
        return torch.nn.functional.cross_entropy(as_logits(scores, output_kind(scores)), labels.long())
    chances = as_logits(output, scores_kind(output))
    wanted = labels.reshape(len(output), *output.shape[2:]).long()
    total = torch.nn.functional.cross_entropy(chances, wanted, ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum().clamp_min(1)


def distillation_loss(
    outputs: Sequence[torch.Tensor],
    teacher_outputs: Sequence[torch.Tensor],
    kinds: Sequence[OutputKind],
    temperature: float,
) -> torch.Tensor:
    """Mean over outputs of what each kind is learnt by; see the module, and `dense.py` for those of detectors."""
    import torch

    total = outputs[0].new_zeros((), dtype=torch.float32)
    for place, (out, teacher, kind) in enumerate(zip(outputs, teacher_outputs, kinds, strict=True)):
        if kind == "boxes":
            apart = boxes_apart(out, teacher, confidence(teacher_outputs, kinds, place))
        elif kind in ("scores", "chances"):
            apart = scores_apart(as_logits(out, kind), as_logits(teacher, kind))
        elif kind == "maps":
            apart = maps_apart(out, teacher, temperature)
        elif kind == "embedding":
            apart = 1.0 - torch.nn.functional.cosine_similarity(out.float(), teacher.float(), dim=-1).mean()
        elif kind in ("logits", "probabilities"):
            apart = _chances_apart(as_logits(out, kind), as_logits(teacher, kind), temperature)
        else:
            apart = _numbers_apart(out.float(), teacher.float(), kind)
        total = total + apart
    return total / len(outputs)


def _chances_apart(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 * KL(teacher || student) of logits [N, classes, ...]: the mean over samples and positions."""
    import torch

    student_log, teacher_log = ((logits / temperature).log_softmax(1) for logits in (student, teacher))
    apart = torch.nn.functional.kl_div(student_log, teacher_log, reduction="sum", log_target=True)
    return temperature**2 * apart / (student.numel() // student.shape[1])


def _numbers_apart(student: torch.Tensor, teacher: torch.Tensor, kind: OutputKind) -> torch.Tensor:
    """Over the variance of the teacher's: the mean square, of relations Huber's loss."""
    import torch

    if kind == "values":
        apart = (student - teacher).square().mean()
    else:
        apart = 2.0 * torch.nn.functional.smooth_l1_loss(student, teacher)
    return apart / (teacher.var(unbiased=False) + 1e-8)
