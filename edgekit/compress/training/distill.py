"""The training loss: hard labels, a teacher's outputs, or both.

Classification: L = alpha * CE(labels) + (1 - alpha) * T^2 * KL(teacher / T || student / T), Hinton et al.
2015 (arXiv:1503.02531). Masks, [N, classes, H, W] whose labels are maps of class numbers: the same, as the mean over
positions. Outputs that are not class scores: mean squared error to the teacher's outputs, divided by the variance of
the teacher's output, so that several outputs weigh alike. So are outputs that the labels' targets are for: the softmax
of coordinates means nothing. Relations of samples (see `compress/showing`): Huber's loss (Park et al. 2019, equations 5
and 7) divided by half of the variance, which of small differences is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from edgekit.labels import IGNORED

if TYPE_CHECKING:
    import torch

    from edgekit.compress.showing import ShownOutput
    from edgekit.compress.training.goal import Goal

__all__ = [
    "OutputKind",
    "as_logits",
    "distillation_loss",
    "hard_loss",
    "output_kind",
    "output_kinds",
]

OutputKind = Literal["logits", "probabilities", "values", "relations"]


def output_kind(output: torch.Tensor) -> OutputKind:
    """[N, classes >= 2] holds class scores (rows that sum to 1: probabilities); all else is values.

    So are rows of length one: they are embeddings, of which a softmax means nothing.
    """
    if output.ndim != 2 or output.shape[1] < 2 or not output.is_floating_point() or _has_length_one(output):
        return "values"
    return _scores_kind(output)


def output_kinds(
    outputs: Sequence[torch.Tensor],
    goal: Goal | None,
    shown: Sequence[ShownOutput] = (),
    *,
    are_values: bool = False,
) -> tuple[OutputKind, ...]:
    """What the outputs are. One that targets are for holds values, one that maps of class numbers are for holds scores.

    `shown`: what the last ones are. `are_values`: all others are, but for the one that class numbers are for.
    """
    own = outputs[: len(outputs) - len(shown)]
    kinds: list[OutputKind] = []
    for index, output in enumerate(own):
        taught = goal.kind if goal is not None and goal.output == index else None
        if taught == "values" or (are_values and taught is None):
            kinds.append("values")
        else:
            kinds.append(_scores_kind(output) if taught == "positions" else output_kind(output))
    return (*kinds, *shown)


def _scores_kind(scores: torch.Tensor) -> OutputKind:
    return "probabilities" if _sums_to_one(scores) else "logits"


def _has_length_one(output: torch.Tensor) -> bool:
    """Whether the rows [N, C] are vectors of length one, and not all the same one-hot scores."""
    rows = output.detach().float()
    return bool(((rows.norm(dim=1) - 1.0).abs() < 1e-3).all()) and not _sums_to_one(output)


def _sums_to_one(output: torch.Tensor) -> bool:
    """Whether the scores [N, classes, ...] are probabilities."""
    rows = output.detach().float()
    return bool(((rows.sum(1) - 1.0).abs() < 1e-3).all()) and bool((rows >= 0.0).all())


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
    chances = as_logits(output, _scores_kind(output))
    wanted = labels.reshape(len(output), *output.shape[2:]).long()
    total = torch.nn.functional.cross_entropy(chances, wanted, ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum().clamp_min(1)


def distillation_loss(
    outputs: Sequence[torch.Tensor],
    teacher_outputs: Sequence[torch.Tensor],
    kinds: Sequence[OutputKind],
    temperature: float,
) -> torch.Tensor:
    """Mean over outputs of T^2 * KL(teacher || student) (class scores [N, C, ...]) or the scaled MSE (values)."""
    import torch

    total = outputs[0].new_zeros((), dtype=torch.float32)
    for out, teacher, kind in zip(outputs, teacher_outputs, kinds, strict=True):
        if kind == "values" or kind == "relations":
            wanted = teacher.float()
            if kind == "values":
                apart = (out.float() - wanted).square().mean()
            else:
                apart = 2.0 * torch.nn.functional.smooth_l1_loss(out.float(), wanted)
            total = total + apart / (wanted.var(unbiased=False) + 1e-8)
        else:
            student_log = (as_logits(out, kind) / temperature).log_softmax(1)
            teacher_log = (as_logits(teacher, kind) / temperature).log_softmax(1)
            apart = torch.nn.functional.kl_div(student_log, teacher_log, reduction="sum", log_target=True)
            positions = out.numel() // out.shape[1]  # the samples, where there is one for each
            total = total + temperature**2 * apart / positions
    return total / len(outputs)


def as_logits(output: torch.Tensor, kind: OutputKind) -> torch.Tensor:
    """Class scores as logits in float32: the logarithm of probabilities."""
    return output.float().clamp_min(1e-8).log() if kind == "probabilities" else output.float()
