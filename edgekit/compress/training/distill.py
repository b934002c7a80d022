"""The training loss: hard labels, a teacher's outputs, or both.

Classification: L = alpha * CE(labels) + (1 - alpha) * T^2 * KL(teacher / T || student / T), Hinton et al.
2015 (arXiv:1503.02531). Outputs that are not class scores: mean squared error to the teacher's outputs,
divided by the variance of the teacher's output, so that several outputs weigh alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["OutputKind", "distillation_loss", "hard_loss", "output_kind"]

OutputKind = Literal["logits", "probabilities", "values"]


def output_kind(output: torch.Tensor) -> OutputKind:
    """[N, classes >= 2] holds class scores (rows that sum to 1: probabilities); all else is values."""
    if output.ndim != 2 or output.shape[1] < 2 or not output.is_floating_point():
        return "values"
    rows = output.detach().float()
    sums_to_one = bool(((rows.sum(1) - 1.0).abs() < 1e-3).all())
    return "probabilities" if sums_to_one and bool((rows >= 0.0).all()) else "logits"


def hard_loss(
    outputs: Sequence[torch.Tensor], labels: torch.Tensor, kinds: Sequence[OutputKind]
) -> torch.Tensor:
    """Mean cross-entropy of the first class-score output against int64 labels [N]."""
    import torch

    scores = next(_as_logits(out, kind) for out, kind in zip(outputs, kinds, strict=True) if kind != "values")
    return torch.nn.functional.cross_entropy(scores, labels)


def distillation_loss(
    outputs: Sequence[torch.Tensor],
    teacher_outputs: Sequence[torch.Tensor],
    kinds: Sequence[OutputKind],
    temperature: float,
) -> torch.Tensor:
    """Mean over outputs of T^2 * KL(teacher || student) (class scores) or the scaled MSE (values)."""
    import torch

    total = outputs[0].new_zeros((), dtype=torch.float32)
    for out, teacher, kind in zip(outputs, teacher_outputs, kinds, strict=True):
        if kind == "values":
            wanted = teacher.float()
            total = total + (out.float() - wanted).square().mean() / (wanted.var(unbiased=False) + 1e-8)
        else:
            student_log = (_as_logits(out, kind) / temperature).log_softmax(1)
            teacher_log = (_as_logits(teacher, kind) / temperature).log_softmax(1)
            total = total + temperature**2 * torch.nn.functional.kl_div(
                student_log, teacher_log, reduction="batchmean", log_target=True
            )
    return total / len(outputs)


def _as_logits(output: torch.Tensor, kind: OutputKind) -> torch.Tensor:
    return output.float().clamp_min(1e-8).log() if kind == "probabilities" else output.float()
