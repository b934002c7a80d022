"""Torch-side accuracy, for steering the training. Claims are measured elsewhere, through the artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.compress.base import forward_outputs, to_tensor
from edgekit.compress.training.goal import Goal, find_goal
from edgekit.compress.training.kinds import output_kind
from edgekit.labels import IGNORED

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Samples

__all__ = ["accuracy", "agreement"]


def accuracy(
    module: torch.nn.Module, data: Samples, *, batch_size: int = 256, device: str = "cpu"
) -> float | None:
    """How well `module`, on `device`, does what the labels ask for; 1 is perfect. None where they fit no output.

    Class numbers, and maps of them (but for 255): the share that scores highest. Targets: the coefficient of
    determination (1 - squared error / spread of the targets).
    """
    import torch

    reached = total = 0.0
    goal: Goal | None = None
    with torch.inference_mode():
        for batch in data.batches(batch_size):
            outputs = forward_outputs(module.eval(), [to_tensor(array, device) for array in batch.inputs])
            goal = goal or find_goal(data.labels, outputs)
            if goal is None or batch.labels is None:
                return None
            output, labels = outputs[goal.output], torch.as_tensor(batch.labels, device=device)
            if goal.kind == "values":
                reached += float((output.double() - labels.reshape(output.shape).double()).square().sum())
                continue
            predicted = output.argmax(1)
            wanted = labels.reshape(predicted.shape)
            counts = wanted != (IGNORED if goal.kind == "positions" else -1)
            reached += float(((predicted == wanted) & counts).sum())
            total += float(counts.sum())
    if goal is not None and goal.kind == "values" and data.labels is not None:
        targets = np.asarray(data.labels, np.float64)
        return 1.0 - reached / max(float(np.square(targets - targets.mean(axis=0)).sum()), 1e-30)
    return reached / max(1.0, total)


def agreement(
    module: torch.nn.Module,
    reference: torch.nn.Module,
    data: Samples,
    *,
    batch_size: int = 256,
    device: str = "cpu",
) -> float:
    """How alike `module` and `reference`, both on `device`, are on `data`; 1 is equal.

    Class scores: the share of samples with the same top-1. Other outputs: mean over outputs of the cosine.
    """
    import torch

    gained = 0.0
    total = 0
    with torch.inference_mode():
        for batch in data.batches(batch_size):
            inputs = [to_tensor(array, device) for array in batch.inputs]
            ours = forward_outputs(module.eval(), inputs)
            theirs = forward_outputs(reference.eval(), inputs)
            count = len(batch.inputs[0])
            total += count
            if output_kind(theirs[0]) != "values":
                gained += float((ours[0].argmax(1) == theirs[0].argmax(1)).sum())
                continue
            cosines = [
                torch.nn.functional.cosine_similarity(a.float().flatten(), b.float().flatten(), dim=0)
                for a, b in zip(ours, theirs, strict=True)
            ]
            gained += count * float(torch.stack(cosines).mean())
    return gained / max(1, total)
