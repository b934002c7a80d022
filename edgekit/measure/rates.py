"""Metrics of class numbers that are no mean of scores: balanced accuracy, macro F1, area under the ROC curve.

Each sample's score is the value plus the sample's share in its change to first order (the delta method): their mean is
the value, their spread its uncertainty, so that differences between two networks on the same samples stay paired.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.labels import holds_scores, shapes_told

__all__ = ["balanced_accuracy", "macro_f1", "roc_auc"]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]


def balanced_accuracy(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """The mean over the classes in the labels of the share of each that is answered rightly (its recall).

    One output [N, classes], labels whole numbers [N]. Raises DataError for others.
    """
    scores, wanted = _scores_and_classes(outputs, labels, "balanced_accuracy")
    right = (_answers(scores) == wanted).astype(np.float64)
    classes, place, sizes = np.unique(wanted, return_inverse=True, return_counts=True)
    recall = np.bincount(place, right) / sizes
    share = len(right) / (len(classes) * sizes)
    return np.asarray(recall.mean() + share[place] * (right - recall[place]))


def macro_f1(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """The mean over the classes in the labels of F1 = 2 right / (labelled + answered).

    Classes that no label has are left out, so that two networks are judged by the same ones; to answer such a class
    is a miss of the labelled one. One output [N, classes], labels whole numbers [N]. Raises DataError for others.
    """
    scores, wanted = _scores_and_classes(outputs, labels, "macro_f1")
    answers = _answers(scores)
    total = np.zeros(len(wanted))
    classes = np.unique(wanted)
    for number in classes:
        is_labelled, is_answered = wanted == number, answers == number
        right = (is_labelled & is_answered).astype(np.float64)
        counted = is_labelled.astype(np.float64) + is_answered
        f1 = 2 * right.sum() / counted.sum()
        total += f1 + (2 * right - f1 * counted) / counted.mean()
    return np.asarray(total / len(classes))


def roc_auc(outputs: Outputs, labels: NDArray[np.generic]) -> Floats:
    """Area under the ROC curve; of several classes each against all others, averaged over those that can be judged.

    One output: [N, classes] with class numbers [N], or one score per label [N, K] with labels of 0 and 1 of the same
    shape ([N] for a single score); of two classes only the second's score beyond the first's counts. Ties count half.
    A sample's share is DeLong's structural component (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988). Raises
    DataError for labels that do not fit, and where no class has both kinds of samples.
    """
    scores, truth = _scores_and_truth(outputs, labels)
    columns = [
        _delong(scores[:, column], truth[:, column])
        for column in range(truth.shape[1])
        if 0 < truth[:, column].sum() < len(truth)
    ]
    if not columns:
        raise DataError("the labels are the same for every sample", allowed="samples of two classes or more")
    return np.asarray(np.mean(columns, axis=0))


def _delong(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Area under the curve of one score, plus each sample's share in its change."""
    has, lacks = np.sort(scores[truth]), np.sort(scores[~truth])

    def placed(values: Floats, among: Floats) -> Floats:
        """The share of `among` below each value, ties half."""
        below, upto = np.searchsorted(among, values, "left"), np.searchsorted(among, values, "right")
        return np.asarray((below + upto) / (2 * len(among)))

    component = np.where(truth, placed(scores, lacks), 1 - placed(scores, has))
    area = component[truth].mean()
    return np.asarray(area + (component - area) * len(scores) / np.where(truth, len(has), len(lacks)))


def _answers(scores: Floats) -> NDArray[np.int64]:
    """The class of the highest score; -1, which is never right, for a sample with NaN or infinity."""
    return np.where(np.isfinite(scores).all(axis=1), np.argmax(scores, axis=1), -1)


def _scores_and_classes(
    outputs: Outputs, labels: NDArray[np.generic], metric: str
) -> tuple[Floats, NDArray[np.int64]]:
    name, values = next(iter(outputs.items()))
    if (
        len(outputs) != 1
        or not holds_scores(values.shape)
        or labels.ndim != 1
        or labels.dtype.kind not in "iu"
    ):
        raise DataError(
            f"labels {labels.dtype} {list(labels.shape[1:])} for the network's outputs {shapes_told(outputs)}",
            allowed=f"for {metric} one output [classes], and one class number per sample",
            remedy="use --metric file.py:function",
        )
    scores = np.asarray(values, np.float64).reshape(len(values), -1)
    wanted = np.asarray(labels, np.int64)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= scores.shape[1]):
        bad = wanted.min() if wanted.min() < 0 else wanted.max()
        allowed = f"0 to {scores.shape[1] - 1}, as output {name} has {scores.shape[1]} classes"
        raise DataError(f"label {bad}", allowed=allowed)
    return scores, wanted


def _scores_and_truth(outputs: Outputs, labels: NDArray[np.generic]) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores [N, K] and whether each is to be high, [N, K]. NaN and infinite scores count as the lowest."""
    values = next(iter(outputs.values()))
    rest = [size for size in values.shape[1:] if size != 1]
    own = [size for size in labels.shape[1:] if size != 1]
    binary = labels.dtype.kind in "iubf" and bool(((labels == 0) | (labels == 1)).all())
    if len(outputs) == 1 and holds_scores(values.shape) and labels.ndim == 1:
        scores, wanted = _scores_and_classes(outputs, labels, "roc_auc")
        scores = np.where(np.isfinite(scores), scores, -np.inf)
        if scores.shape[1] == 2:
            with np.errstate(invalid="ignore"):
                margin = np.nan_to_num(scores[:, 1] - scores[:, 0], nan=-np.inf)
            return margin[:, None], (wanted == 1)[:, None]
        return scores, wanted[:, None] == np.arange(scores.shape[1])[None]
    if len(outputs) != 1 or rest != own or not binary:
        raise DataError(
            f"labels {labels.dtype} {list(labels.shape[1:])} for the network's outputs {shapes_told(outputs)}",
            allowed="for roc_auc one output [classes] and class numbers, or a score for each label of 0 or 1",
            remedy="use --metric file.py:function",
        )
    scores = np.asarray(values, np.float64).reshape(len(values), -1)
    return np.where(np.isfinite(scores), scores, -np.inf), np.asarray(labels).reshape(len(labels), -1) == 1
