"""Scores of network outputs, one per sample, so that two networks can be compared sample by sample."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.labels import holds_scores
from edgekit.measure.detections import find_detection_metric
from edgekit.measure.groups import group_scores
from edgekit.measure.maps import miou
from edgekit.measure.rates import balanced_accuracy, macro_f1, roc_auc
from edgekit.measure.targets import mae, r2, rmse, target_cosine
from edgekit.reference import UserCode, is_reference, load_function

__all__ = [
    "METRICS",
    "Floats",
    "Metric",
    "Truth",
    "agreement",
    "find_metric",
    "holds_class_scores",
]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]
Truth = NDArray[Any] | Outputs
"""Labels [N, ...], or, for a function of the user's on data without any, the original's outputs by name."""

Metric = Callable[[Outputs, Any], Floats]
"""(outputs by name, each [N, ...], `Truth`) → scores float64 [N], higher is better; their mean is the metric."""


def holds_class_scores(outputs: Outputs) -> bool:
    """Whether there is one output, of shape [N, classes] (or [N, classes, 1, 1]), two classes or more."""
    return len(outputs) == 1 and holds_scores(next(iter(outputs.values())).shape)


def _class_scores(outputs: Outputs) -> NDArray[np.generic]:
    """The first output as [N, classes]. Raises DataError when it is no class score."""
    name, scores = next(iter(outputs.items()))
    if not holds_class_scores(outputs):
        raise DataError(
            f"output {name} of shape {list(scores.shape)} is not the one output [N, classes] of a classifier",
            remedy="use --metric file.py:function, or leave the labels out",
        )
    return scores.reshape(len(scores), -1)


def _top(outputs: Outputs, labels: NDArray[np.int64], k: int) -> Floats:
    scores = _class_scores(outputs)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels are {labels.dtype} {list(labels.shape[1:])} for each sample",
            allowed="one class number per sample for top1 and top5",
            remedy="use another --metric",
        )
    if len(labels) != len(scores):
        raise DataError(f"{len(labels)} labels for {len(scores)} outputs")
    if labels.size and (labels.min() < 0 or labels.max() >= scores.shape[1]):
        allowed = f"0 to {scores.shape[1] - 1}, as the network has {scores.shape[1]} outputs"
        raise DataError(f"label {labels.min() if labels.min() < 0 else labels.max()}", allowed=allowed)
    rows = np.asarray(scores, dtype=np.float64)
    own = np.take_along_axis(rows, labels[:, None], axis=1)
    before = np.arange(rows.shape[1])[None, :] < labels[:, None]
    # Ties go to the lower class, as argmax decides them; NaN is never right.
    rank = np.sum((rows > own) | ((rows == own) & before), axis=1)
    right: Floats = ((rank < k) & np.isfinite(rows).all(axis=1)).astype(np.float64)
    return right


def top1(outputs: Outputs, labels: NDArray[np.int64]) -> Floats:
    """1 where the highest class score is the label's."""
    return _top(outputs, labels, 1)


def top5(outputs: Outputs, labels: NDArray[np.int64]) -> Floats:
    """1 where the label is among the five highest class scores."""
    return _top(outputs, labels, 5)


def agreement(outputs: Outputs, reference: Outputs) -> Floats:
    """1 where both networks put the same class first."""
    return top1(outputs, np.argmax(_class_scores(reference), axis=1).astype(np.int64))


METRICS: dict[str, Metric] = {
    "top1": top1,
    "top5": top5,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "miou": miou,
    "r2": r2,
    "rmse": rmse,
    "mae": mae,
    "cosine": target_cosine,
}


SYNONYMS = {
    "acc": "top1",
    "accuracy": "top1",
    "accuracy_score": "top1",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "balanced_accuracy_score": "balanced_accuracy",
    "f1": "macro_f1",
    "f1_score": "macro_f1",
    "roc_auc_score": "roc_auc",
    "coco": "map:file.py:decoder",
    "mean_average_precision": "map:file.py:decoder",
    "iou": "miou",
    "mean_iou": "miou",
    "mse": "rmse",
    "r2_score": "r2",
}
"""What other libraries call a metric of METRICS, or the nearest of them."""


def find_metric(spec: str) -> Metric:
    """A built-in metric by name, or a function: 'file.py:function', 'package.module:function', one that is held.

    'map:file.py:decoder' and 'map50:…' are COCO's mean average precision, see `find_detection_metric`.

    The function takes (outputs: name → array [N, ...], labels [N, ...]), or, where the data has no labels, (outputs,
    the original's outputs on the same samples by name). It gives one score per sample, [N], or one number for all of
    them, as mAP is; in both cases higher is better. For one number, its uncertainty is found by leaving out groups of
    samples (see `group_scores`), at the price of 50 more calls. Raises DataError when it cannot be found or loaded; its
    scores are checked at each call.
    """
    if spec in METRICS:
        return METRICS[spec]
    detection = find_detection_metric(spec)
    if detection is not None:
        return detection
    if not is_reference(spec):
        allowed = f"{', '.join(METRICS)}, map:file.py:decoder, file.py:function, package.module:function"
        near = SYNONYMS.get(spec.lower()) or next(iter(difflib.get_close_matches(spec, METRICS, n=1)), "")
        raise DataError(f"metric {spec!r}", allowed=allowed, remedy=f"did you mean {near}?" if near else "")
    try:
        function = load_function(spec, DataError)
    except DataError as problem:
        raise DataError(f"metric {spec!r}: {problem}") from problem
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise DataError(f"metric {spec} cannot be called with (outputs, labels): {error}") from error

    def checked(outputs: Outputs, truth: Truth) -> Floats:
        return _checked_scores(spec, function, outputs, truth)

    return checked


def _checked_scores(spec: str, function: Callable[..., Any], outputs: Outputs, truth: Truth) -> Floats:
    count = len(next(iter(outputs.values())))
    second = "the original's outputs, as there are no labels" if isinstance(truth, Mapping) else "labels"

    def call(outputs: Outputs, truth: Truth) -> Floats:
        try:
            with UserCode(f"metric {spec} of (outputs, {second})", DataError):
                return np.asarray(function(outputs, truth), dtype=np.float64)
        except DataError as problem:
            if problem.parts[2]:
                raise
            raise DataError(problem.parts[0], remedy=_told_arguments(outputs, truth)) from problem.__cause__

    scores = call(outputs, truth)
    if scores.ndim == 0 and np.isfinite(scores):
        scores = group_scores(call, outputs, truth)
    if scores.shape != (count,) or not np.isfinite(scores).all():
        finite = "" if np.isfinite(scores).all() else ", not all of them finite"
        came = f"metric {spec} gave an array of shape {list(scores.shape)}{finite}"
        raise DataError(came, allowed=f"one finite score per sample, [{count}], or one for all of them")
    return scores


def _told_arguments(outputs: Outputs, truth: Truth) -> str:
    """What a metric is given, for one that expected something else, as a tensor of scores."""

    def arrays(named: Outputs) -> str:
        return ", ".join(f"{name!r}: {array.dtype} {list(array.shape)}" for name, array in named.items())

    second = f"{{{arrays(truth)}}}" if isinstance(truth, Mapping) else f"{truth.dtype} {list(truth.shape)}"
    return f"it is given arrays of numpy's: outputs {{{arrays(outputs)}}}, labels {second}"
