"""Scores of regression: outputs against targets, one score per sample, whose mean over all is the metric."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.labels import shapes_told

__all__ = ["mae", "r2", "rmse", "target_cosine"]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]


def _rows(outputs: Outputs, labels: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Output and targets, float64 [N, values] each. Raises DataError where they do not meet."""
    name, values = next(iter(outputs.items()))
    wanted = [size for size in values.shape[1:] if size != 1]
    if len(outputs) != 1 or wanted != [size for size in labels.shape[1:] if size != 1]:
        raise DataError(
            f"labels of shape {list(labels.shape[1:])} for the network's outputs {shapes_told(outputs)}",
            allowed="one output, and a target for each of its values",
            remedy="use --metric file.py:function",
        )
    if len(labels) != len(values):
        raise DataError(f"{len(labels)} labels for {len(values)} outputs {name}")
    count = len(labels)
    return (
        np.asarray(values, np.float64).reshape(count, -1),
        np.asarray(labels, np.float64).reshape(count, -1),
    )


def r2(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """1 - squared error / spread of the targets: 1 is perfect, 0 is to answer their mean always, below is worse.

    The coefficient of determination; of several values per sample those with more spread weigh more. Raises DataError
    for targets that are all alike.
    """
    answers, targets = _rows(outputs, labels)
    spread = float(np.square(targets - targets.mean(axis=0)).sum(axis=1).mean())
    if spread == 0.0:
        raise DataError("the labels are the same for every sample", allowed="targets that differ")
    return np.asarray(1.0 - np.square(answers - targets).sum(axis=1) / spread)


def rmse(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """Minus the root of the mean squared error over all samples and values, in the targets' unit.

    That mean is no mean of scores. A sample's score is the value plus the sample's share in its change to first order
    (the delta method): their mean is the value, their spread its uncertainty.
    """
    answers, targets = _rows(outputs, labels)
    squared = np.square(answers - targets).mean(axis=1)
    mean = float(squared.mean())
    return np.zeros(len(squared)) if mean == 0.0 else -(mean + squared) / (2.0 * np.sqrt(mean))


def mae(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """Minus the mean absolute error, in the targets' unit."""
    answers, targets = _rows(outputs, labels)
    return np.asarray(-np.abs(answers - targets).mean(axis=1))


def target_cosine(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """Cosine between output and target. Two that are zero agree: 1."""
    answers, targets = _rows(outputs, labels)
    norms = np.linalg.norm(answers, axis=1) * np.linalg.norm(targets, axis=1)
    same = (norms == 0) & (answers == targets).all(axis=1)
    return np.clip(
        np.where(same, 1.0, (answers * targets).sum(axis=1) / np.where(norms == 0, 1.0, norms)), -1, 1
    )
