"""Whether a network does its task at all: better than a guess, by more than the noise of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.labels import CLASS_METRICS, ERROR_METRICS
from edgekit.measure.accuracy import estimate_drop
from edgekit.measure.metrics import METRICS, Floats, holds_class_scores
from edgekit.measure.scoring import Scoring, find_scoring

__all__ = ["find_weakness", "little_told"]

Outputs = Mapping[str, NDArray[np.generic]]

GUESSED_BY_MEAN = ("r2", "neg_rmse", "neg_mae", "cosine")
ONE_FOR_PERFECT = ("top1", "top5", "miou", "r2")
NEARLY_ALL = 0.9
TRIED = 8  # orders of the labels
REORDERED = 0.5  # least accuracy with the classes in another order that is worth telling


def find_weakness(outputs: Outputs, labels: NDArray[np.generic] | None, metric: str | None) -> str:
    """What shows that the network cannot be meant as it stands; "" where nothing does.

    `outputs`: name → array [N, ...] of the network itself; `labels` [N, ...] and `metric` as for `evaluate`. Always:
    NaN among the outputs. With labels also a score that a guess reaches. The guess is for top1 and top5 the commonest
    class (the five commonest), whose share is never below 1 / classes; for r2, rmse, mae and cosine the labels' mean;
    for miou and a metric of the user's the same outputs scored with the labels of other samples. The network has to be
    better by more than the paired 95 % interval (`estimate_drop`), or right everywhere. A metric with one value for
    every sample says nothing, unless that is a perfect network's: then it is worse with the labels of other samples.
    Without labels a network always agrees with itself: a metric of the user's has to tell its outputs from those of
    other samples.
    """
    for name, values in outputs.items():
        bad = _first_nan(values)
        if bad is not None:
            return f"output {name} is NaN for sample {bad}"
    if labels is None and metric is None:
        return ""
    scoring = find_scoring(metric, labels, outputs)
    scores = scoring.scores(outputs)
    perfect = 0.0 if metric in ERROR_METRICS else 1.0
    if labels is None:
        return _no_better_than_shuffled(scores, outputs, scoring)
    is_constant = len(scores) > 1 and np.ptp(scores) == 0
    is_own = metric is not None and metric not in METRICS  # whose value for a perfect network is not known
    if is_constant and scores[0] != perfect and not is_own:
        fact = f"{scoring.name} is {scores[0]:g} for every one of {len(scores)} samples"
    elif is_constant and scoring.name not in CLASS_METRICS:
        fact = _no_worse_when_shuffled(scores, outputs, scoring, labels)
    elif scoring.name in CLASS_METRICS:
        fact = _no_better_than_commonest(scores, labels, scoring.name)
    elif scoring.name not in GUESSED_BY_MEAN:
        fact = _no_better_than_shuffled(scores, outputs, scoring)
    else:
        fact = _no_better_than_mean(scores, outputs, scoring, labels)
    hint = _hint(outputs, labels) if fact else ""
    return f"{fact}: {hint}" if hint else fact


def little_told(outputs: Outputs, labels: NDArray[np.generic] | None, metric: str | None) -> str:
    """The score, in words, of a network that is less than half way from a guess to being right; "" of any other.

    Arguments as for `find_weakness`. Trained networks may be so, but few are. Only metrics that are 1 for a perfect
    network are judged; a metric of the user's is not.
    """
    if labels is None or (metric is not None and metric not in ONE_FOR_PERFECT):
        return ""
    scoring = find_scoring(metric, labels, outputs)
    value, guess = float(scoring.scores(outputs).mean()), 0.0
    if scoring.name in CLASS_METRICS:
        _, sizes = np.unique(labels, return_counts=True)
        guess = float(sizes.max() / sizes.sum())
    if value >= (1 + guess) / 2:
        return ""
    told = f"{value:.4g}" if scoring.name == "r2" else _percent(value)
    return f"{scoring.name} is {told} over {len(labels)} samples"


def _first_nan(values: NDArray[np.generic]) -> int | None:
    if values.dtype.kind != "f":
        return None
    return next((index for index, row in enumerate(values) if np.isnan(row).any()), None)


def _no_better_than_commonest(scores: Floats, labels: NDArray[np.generic], metric: str) -> str:
    count = 5 if metric == "top5" else 1
    classes, sizes = np.unique(labels, return_counts=True)
    commonest = classes[np.argsort(-sizes, kind="stable")[:count]]
    guess = np.isin(labels, commonest).astype(np.float64)
    if count > 1 and guess.all():
        return f"{metric} says nothing of labels of {len(classes)} classes"
    if scores.all() or estimate_drop(guess, scores).low > 0:
        return ""
    always = "the commonest class" if count == 1 else f"the {count} commonest classes"
    return (
        f"{metric} is {_percent(scores.mean())} of {len(scores)} samples, which is no better, by more than noise, "
        f"than to answer {always} always ({_percent(guess.mean())})"
    )


def _no_better_than_mean(
    scores: Floats, outputs: Outputs, scoring: Scoring, labels: NDArray[np.generic]
) -> str:
    name, values = next(iter(outputs.items()))
    mean = np.asarray(labels, np.float64).mean(axis=0).reshape((1, *values.shape[1:]))
    guess = scoring.scores({name: np.broadcast_to(mean, values.shape)})
    if len(scores) < 2 or estimate_drop(guess, scores).low > 0:
        return ""
    return (
        f"{scoring.name} is {scores.mean():.4g} over {len(scores)} samples, which is no better, by more than noise, "
        f"than to answer the labels' mean always ({guess.mean():.4g})"
    )


def _no_worse_when_shuffled(
    scores: Floats, outputs: Outputs, scoring: Scoring, labels: NDArray[np.generic]
) -> str:
    """Of scores that are all one value: a perfect network's become worse, a metric's that sees no labels do not."""
    random = np.random.default_rng(0)
    for _ in range(TRIED):  # until some sample gets another label
        others = random.permutation(len(scores))
        if not np.array_equal(labels[others], labels):
            break
    shuffled = scoring.score(outputs, labels[others])
    if shuffled.mean() < scores.mean():
        return ""
    return (
        f"{scoring.name} is {scores[0]:g} for every one of {len(scores)} samples, and no worse with the labels of "
        f"other samples ({shuffled.mean():.4g})"
    )


def _no_better_than_shuffled(scores: Floats, outputs: Outputs, scoring: Scoring) -> str:
    others = np.random.default_rng(0).permutation(len(scores))
    truth, what = scoring.truth, "labels"
    if isinstance(truth, Mapping):
        shuffled = scoring.score(outputs, {name: values[others] for name, values in truth.items()})
        what = "outputs"
    else:
        shuffled = scoring.score(outputs, truth[others])
    if len(scores) < 2 or estimate_drop(shuffled, scores).low > 0:
        return ""
    return (
        f"{scoring.name} is {scores.mean():.4g} over {len(scores)} samples, which is no better, by more than noise, "
        f"than with the {what} of other samples ({shuffled.mean():.4g})"
    )


def _hint(outputs: Outputs, labels: NDArray[np.generic]) -> str:
    """What a classifier's answers look like; "" where they show nothing."""
    if not holds_class_scores(outputs) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return ""
    scores = next(iter(outputs.values())).reshape(len(labels), -1)
    answers = np.argmax(scores, axis=1)
    classes, sizes = np.unique(answers, return_counts=True)
    if sizes.max() >= NEARLY_ALL * len(answers):
        return f"it answers class {classes[sizes.argmax()]} to {_percent(sizes.max() / len(answers))} of them"
    share = _best_order(answers, labels, scores.shape[1])
    if share >= REORDERED and share > 2 * float(np.mean(answers == labels)):
        return f"with its classes in another order it would be right for {_percent(share)}"
    return ""


def _best_order(answers: NDArray[np.intp], labels: NDArray[Any], classes: int) -> float:
    """The best top-1 that a renaming of the classes reaches."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes))
    inside = (labels >= 0) & (labels < classes)
    np.add.at(counts, (answers[inside], labels[inside]), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(labels))


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
