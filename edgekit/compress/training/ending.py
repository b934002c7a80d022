"""Which weights a training ends with: the last ones or their average."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

from edgekit.compress.training.aside import score_aside

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Samples
    from edgekit.compress.training.state import TrainingState

__all__ = ["end_training"]


def end_training(
    state: TrainingState, aside: Samples | None, teacher: torch.nn.Module | None, device: str
) -> tuple[Literal["last", "average"], float | None]:
    """Leave in the student, in eval mode, the weights that are kept; which these are, and their score on `aside`.

    The averaged weights come with averages of the batch norms' running statistics; re-estimating these on 512 samples
    gained nothing (two trainings of a pruned ResNet-20), and cost the last weights 0.4 point (mean of five). Without a
    score to compare, the average is kept.
    """
    import torch

    student = state.student
    student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    student.eval()  # in one layout, whatever this sitting trained in: the same sums, bit for bit
    last = None if aside is None else score_aside(student, aside, teacher, device)
    if state.average is None:
        return "last", last
    before = copy.deepcopy(student.state_dict())
    state.average.put_into(student)
    averaged = None if aside is None else score_aside(student, aside, teacher, device)
    if last is not None and averaged is not None and not averaged >= last:
        student.load_state_dict(before)
        return "last", last
    return "average", averaged
