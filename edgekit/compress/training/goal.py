"""What labels teach: which output they are for, and in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.compress.base import Samples, forward_outputs, to_tensor
from edgekit.labels import IGNORED, LabelKind, label_kind

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["Goal", "find_goal", "fits", "moves_with_the_image"]


@dataclass(frozen=True)
class Goal:
    """Labels are of `kind` for output number `output`."""

    output: int
    kind: LabelKind


def find_goal(labels: NDArray[np.generic] | None, outputs: Sequence[torch.Tensor]) -> Goal | None:
    """For the first output that all labels [N, ...] fit; None where they teach nothing."""
    if labels is None:
        return None
    for index, output in enumerate(outputs):
        kind = label_kind(labels, tuple(output.shape))
        if kind is not None and output.is_floating_point() and _in_range(labels, kind, output):
            return Goal(index, kind)
    return None


def fits(data: Samples, module: torch.nn.Module, device: str = "cpu") -> bool:
    """Whether the labels of `data` teach the network, which is on `device`, anything by the standard loss."""
    import torch

    batch = next(iter(data.batches(2)))
    with torch.inference_mode():
        outputs = forward_outputs(module.eval(), [to_tensor(array, device) for array in batch.inputs])
    return find_goal(data.labels, outputs) is not None


def _in_range(labels: NDArray[np.generic], kind: LabelKind, output: torch.Tensor) -> bool:
    if kind == "values":
        return True
    classes = output[0].numel() if kind == "classes" else output.shape[1]
    outside = (labels < 0) | (labels >= classes)  # type: ignore[operator]
    if kind == "positions":
        outside &= labels != IGNORED
    return not bool(outside.any())


def moves_with_the_image(labels: NDArray[np.generic] | None) -> bool:
    """Whether labels may tell where something is: they would have to be shifted and mirrored with the image."""
    return labels is not None and (labels.ndim > 1 or labels.dtype.kind == "f")
