"""Accuracy with intervals, and the paired drop from the original on the same samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.measure.metrics import Floats
from edgekit.measure.scoring import find_scoring
from edgekit.types import Accuracy, Estimate

__all__ = [
    "compare_scores",
    "estimate_drop",
    "estimate_mean",
    "estimate_skewed_drop",
    "evaluate",
    "skewed_accuracy",
]

CONFIDENCE = 0.95  # of every interval that is told
UNSEEN_REACH = (
    5.0  # how many times as far from the mean as the farthest sample those may lie that were not seen
)


def evaluate(
    outputs: Mapping[str, NDArray[np.generic]],
    reference: Mapping[str, NDArray[np.generic]],
    labels: NDArray[np.generic] | None,
    *,
    metric: str | None = None,
    split: str = "",
    confidence: float | None = None,
) -> Accuracy:
    """Score a network's outputs, and how far it falls behind `reference`, the original's on the same samples.

    `outputs` and `reference`: name → array [N, ...]. `metric` against `labels` or, without any, against the original's
    outputs; None is what `find_scoring` finds fit. With a `confidence` the drop gets its bound. Raises DataError on
    outputs that do not fit each other, the labels or the metric.
    """
    if set(outputs) != set(reference):
        raise DataError(f"outputs {sorted(outputs)}", allowed=f"the original's outputs {sorted(reference)}")
    for name, values in outputs.items():
        if values.shape != reference[name].shape:
            raise DataError(
                f"output {name} has shape {list(values.shape)}, not {list(reference[name].shape)}"
            )
    scoring = find_scoring(metric, labels, reference)
    scores, worst = scoring.judged(outputs)
    if worst is not None:
        return replace(skewed_accuracy(scores, scoring.name, split, confidence), worst_part=worst)
    originals = scoring.scores(reference)
    return compare_scores(scores, originals, metric=scoring.name, split=split, confidence=confidence)


def compare_scores(
    scores: Floats, reference: Floats, *, metric: str, split: str, confidence: float | None = None
) -> Accuracy:
    """Accuracy from the scores [N] of a network and of the original on the same samples."""
    value, drop = estimate_mean(scores), estimate_drop(scores, reference)
    bound = None if confidence is None else estimate_drop(scores, reference, confidence).high
    return Accuracy(metric=metric, split=split, samples=len(scores), value=value, drop=drop, drop_bound=bound)


def skewed_accuracy(scores: Floats, metric: str, split: str, confidence: float | None) -> Accuracy:
    """Of scores [N] that are 1 for the original, whose drops are skewed: a few samples hold most of it.

    A small set may lack them.
    """
    accuracy = compare_scores(scores, np.ones_like(scores), metric=metric, split=split, confidence=confidence)
    ones = np.ones_like(scores)
    return replace(
        accuracy,
        value=_with_unseen(accuracy.value, scores, CONFIDENCE),
        drop=estimate_skewed_drop(scores, ones),
        drop_bound=None if confidence is None else estimate_skewed_drop(scores, ones, confidence).high,
    )


def estimate_skewed_drop(scores: Floats, reference: Floats, confidence: float = CONFIDENCE) -> Estimate:
    """`estimate_drop` between scores [N] whose differences are skewed, as those of `skewed_accuracy` are."""
    return _with_unseen(estimate_drop(scores, reference, confidence), reference - scores, confidence)


def _with_unseen(estimate: Estimate, values: Floats, confidence: float) -> Estimate:
    """The interval, as wide at least as samples of a kind that was not seen could move the mean.

    By the rule of three these may be a share of -ln(1 - confidence) / N (3 / N at 95 %; Hanley and Lippman-Hand, JAMA
    249, 1983). How far out they lie no data tells: UNSEEN_REACH is chosen so that lognormal laws up to σ = 2 are held
    at 20 samples; see benchmarks/claims.py.
    """
    reach = UNSEEN_REACH * -math.log(1 - confidence) / len(values)
    low = estimate.value - reach * (estimate.value - float(values.min()))
    high = estimate.value + reach * (float(values.max()) - estimate.value)
    return Estimate(estimate.value, min(estimate.low, low), max(estimate.high, high))


def estimate_mean(scores: Floats) -> Estimate:
    """Mean of scores [N] with its 95 % interval: Wilson's for scores of 0 and 1, else Student's t.

    Wilson, J. Am. Stat. Assoc. 22 (1927) 209. Raises DataError without samples.
    """
    if not len(scores):
        raise DataError("no samples to score")
    if not _binary(scores):
        return _student(scores)
    # By the formula: importing scipy.stats for it takes longer than all else that a stored score is asked.
    count, hits = len(scores), int(scores.sum())
    value, deviate = hits / count, NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    middle = (hits + deviate**2 / 2) / (count + deviate**2)
    reach = deviate * math.sqrt(value * (1 - value) * count + deviate**2 / 4) / (count + deviate**2)
    low, high = (0.0 if hits == 0 else middle - reach), (1.0 if hits == count else middle + reach)
    return Estimate(value, min(value, low), max(value, high))


def estimate_drop(scores: Floats, reference: Floats, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of `reference` minus mean of `scores`, both [N] on the same samples, with a paired interval (95 %).

    For scores of 0 and 1, Tango's score interval, which stays sensible with few or no discordant samples
    (Tango, Statistics in Medicine 17 (1998) 891; recommended by Fagerland, Lydersen and Laake, ibid. 33
    (2014) 2850). For other scores, Student's t on the differences. Raises DataError on different lengths.
    """
    if len(scores) != len(reference) or not len(scores):
        raise DataError(f"{len(scores)} scores cannot be paired with {len(reference)}")
    if not (_binary(scores) and _binary(reference)):
        return _student(reference - scores, confidence)
    lost = int(np.sum(reference > scores))
    won = int(np.sum(scores > reference))
    value = (lost - won) / len(scores)
    deviate = NormalDist().inv_cdf(0.5 + confidence / 2)
    low = -_tango_upper(won, lost, len(scores), deviate)
    high = _tango_upper(lost, won, len(scores), deviate)
    return Estimate(value, min(value, low), max(value, high))


def _tango_upper(b: int, c: int, n: int, deviate: float) -> float:
    """Upper bound of (b - c) / n, b and c of n pairs being discordant either way, by bisection.

    `deviate`: the normal law's quantile of its confidence.
    """
    low, high = (b - c) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if _tango_statistic(b, c, n, middle) >= -deviate:
            low = middle
        else:
            high = middle
    return high


def _tango_statistic(b: int, c: int, n: int, delta: float) -> float:
    """Tango (1998), equation for T(delta), with c's probability estimated under the constraint."""
    second = -b - c + (2 * n - b + c) * delta
    root = math.sqrt(max(0.0, second**2 + 8 * n * c * delta * (1 - delta)))
    variance = n * (2 * (root - second) / (4 * n) + delta * (1 - delta))
    distance = b - c - n * delta
    if variance <= 0.0:
        return 0.0 if abs(distance) < 1e-12 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _student(values: Floats, confidence: float = CONFIDENCE) -> Estimate:
    if len(values) < 2:
        raise DataError("one sample has no interval", allowed="two samples or more")
    from scipy.stats import t

    mean = float(values.mean())
    half = (
        float(t.ppf(0.5 + confidence / 2, len(values) - 1))
        * float(values.std(ddof=1))
        / math.sqrt(len(values))
    )
    return Estimate(mean, mean - half, mean + half)


def _binary(scores: Floats) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())
