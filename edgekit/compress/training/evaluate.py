"""Torch-side accuracy, for steering the training. Claims are measured elsewhere, through the artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.compress.base import forward_outputs, to_tensor
from edgekit.compress.training.distill import output_kind

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Samples

__all__ = ["accuracy", "agreement"]


def accuracy(module: torch.nn.Module, data: Samples, *, batch_size: int = 256) -> float:
    """Top-1 of the first output against the labels, a fraction."""
    import torch

    right = total = 0
    with torch.inference_mode():
        for batch in data.batches(batch_size):
            if batch.labels is None:
                continue
            predicted = forward_outputs(module.eval(), [to_tensor(array) for array in batch.inputs])[
                0
            ].argmax(1)
            right += int((predicted == torch.as_tensor(batch.labels)).sum())
            total += len(batch.labels)
    return right / max(1, total)


def agreement(
    module: torch.nn.Module, reference: torch.nn.Module, data: Samples, *, batch_size: int = 256
) -> float:
    """How alike `module` and `reference` are on `data`; 1 is equal.

    Class scores: the share of samples with the same top-1. Other outputs: mean over outputs of the cosine.
    """
    import torch

    gained = 0.0
    total = 0
    with torch.inference_mode():
        for batch in data.batches(batch_size):
            inputs = [to_tensor(array) for array in batch.inputs]
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
