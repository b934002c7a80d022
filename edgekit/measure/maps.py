"""Mean IoU of maps of class numbers (segmentation masks)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.labels import IGNORED, label_kind, shapes_told

__all__ = ["miou"]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]


def miou(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """Mean over the classes in the labels of intersection / union, each counted over all samples together.

    Output [N, classes, H, W] (the highest score counts), labels [N, H, W] (of any rank); positions labelled 255 count
    for nothing. A ratio of sums is no mean of scores. A sample's score is the value plus the sample's share in its
    change to first order (the delta method): their mean is the value, their spread its uncertainty. Raises DataError
    for maps that do not fit the output.
    """
    name, values = next(iter(outputs.items()))
    if len(outputs) != 1 or label_kind(labels, values.shape) != "positions":
        raise DataError(
            f"labels {labels.dtype} {list(labels.shape[1:])} for the network's outputs {shapes_told(outputs)}",
            allowed="for miou one output [classes, H, W], and whole numbers [H, W]",
            remedy="use --metric file.py:function",
        )
    classes = values.shape[1]
    both, either = np.zeros((len(labels), classes)), np.zeros((len(labels), classes))
    labelled = np.zeros(classes)
    for index in range(len(labels)):
        wanted = np.asarray(labels[index], np.int64).reshape(-1)
        answers = np.argmax(values[index], axis=0).reshape(-1)
        counts = wanted != IGNORED
        wanted, answers = wanted[counts], answers[counts]
        if wanted.size and (wanted.min() < 0 or wanted.max() >= classes):
            bad = wanted.min() if wanted.min() < 0 else wanted.max()
            raise DataError(
                f"label {bad} in the map of sample {index}",
                allowed=f"0 to {classes - 1}, as output {name} has {classes} classes, and {IGNORED} for none",
            )
        own = np.bincount(wanted, minlength=classes)
        both[index] = np.bincount(wanted[wanted == answers], minlength=classes)
        either[index] = own + np.bincount(answers, minlength=classes) - both[index]
        labelled += own
    present = labelled > 0
    if not present.any():
        raise DataError(f"the maps hold {IGNORED} alone", allowed="class numbers")
    both, either = both[:, present], either[:, present]
    ratio = both.sum(axis=0) / either.sum(axis=0)
    return np.asarray((ratio + (both - ratio * either) / either.mean(axis=0)).mean(axis=1))
