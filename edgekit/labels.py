"""What labels can be, and how they meet a network's output: one rule for what is judged and what is learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CLASS_METRICS",
    "ERROR_METRICS",
    "IGNORED",
    "NUMBER_METRICS",
    "LabelKind",
    "holds_scores",
    "label_kind",
    "shapes_told",
]

LabelKind = Literal["classes", "positions", "values"]

CLASS_METRICS = ("top1", "top5")
NUMBER_METRICS = (*CLASS_METRICS, "balanced_accuracy", "macro_f1", "roc_auc")
"""They hold outputs against class numbers, so that these have to be numbered as the outputs are."""
ERROR_METRICS = ("rmse", "mae")
"""They have the labels' own unit, and less is better."""

IGNORED = 255
"""In a map of class numbers: a position that counts for nothing (as in PASCAL VOC and Cityscapes)."""


def holds_scores(shape: Sequence[int]) -> bool:
    """Whether an output [N, classes] (or [N, classes, 1, 1]) holds scores of two classes or more."""
    sizes = shape[1:]
    return bool(sizes) and max(sizes) == math.prod(sizes) >= 2


def label_kind(labels: NDArray[np.generic], shape: Sequence[int]) -> LabelKind | None:
    """How labels [N, ...] meet an output of `shape` [N, ...]; None where they do not, or where it cannot be known.

    classes: whole numbers [N], scores [N, classes]. positions: whole numbers [N, H, W] (of any rank), scores
    [N, classes, H, W]; an axis of size 1 in the place of the classes may stand in the labels. values: numbers, as many
    as the output has. Labels of 0 and 1 alone could be classes as well as values: they are no values.
    """
    rest, own = tuple(shape[1:]), tuple(labels.shape[1:])
    whole = labels.dtype.kind in "iu"
    if whole and labels.ndim == 1 and holds_scores(shape):
        return "classes"
    if whole and len(rest) >= 2 and rest[0] >= 2 and own in (rest[1:], (1, *rest[1:])):
        return "positions"
    if [size for size in rest if size != 1] != [size for size in own if size != 1]:
        return None
    return None if whole and bool(((labels == 0) | (labels == 1)).all()) else "values"


def shapes_told(outputs: Mapping[str, NDArray[np.generic]]) -> str:
    """Outputs [N, ...] by name with what each sample has, for a message: `boxes [8400, 4], scores [8400]`."""
    return ", ".join(f"{name} {list(values.shape[1:])}" for name, values in outputs.items())
