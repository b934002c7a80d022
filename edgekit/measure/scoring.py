"""How outputs are judged: by which metric, against labels or against what the original answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.labels import ERROR_METRICS, NUMBER_METRICS, label_kind, shapes_told
from edgekit.measure.kept import kept_variation
from edgekit.measure.metrics import (
    METRICS,
    Floats,
    Truth,
    agreement,
    find_metric,
    holds_class_scores,
)
from edgekit.types import WorstPart

__all__ = ["Scoring", "default_metric", "find_scoring"]

Outputs = Mapping[str, NDArray[np.generic]]
DEFAULTS = {"classes": "top1", "positions": "miou", "values": "r2"}


@dataclass(frozen=True)
class Scoring:
    """`name`: the metric as it is told. `truth`: what outputs are held against; `score`: (outputs, truth) → [N].

    `by_part`: the same with the part of the outputs that suffers most, where the metric judges part by part.
    """

    name: str
    truth: Truth
    score: Callable[[Outputs, Truth], Floats]
    by_part: Callable[[Outputs], tuple[Floats, WorstPart]] | None = None

    def scores(self, outputs: Outputs) -> Floats:
        """float64 [N], higher is better, for a network's outputs on the same samples."""
        return self.score(outputs, self.truth)

    def judged(self, outputs: Outputs) -> tuple[Floats, WorstPart | None]:
        """The scores [N], and the worst part of the outputs where there is such."""
        return self.by_part(outputs) if self.by_part is not None else (self.scores(outputs), None)


def default_metric(labels: NDArray[np.generic], outputs: Outputs) -> str:
    """top1 for class numbers, miou for maps of them, r2 for targets. Raises DataError where none of these is meant."""
    values = next(iter(outputs.values()))
    kind = label_kind(labels, values.shape) if len(outputs) == 1 else None
    if kind is None:
        raise DataError(
            f"how labels {labels.dtype} {list(labels.shape[1:])} are to be judged for the outputs "
            f"{shapes_told(outputs)} is not known",
            remedy=f"give --metric: {', '.join(METRICS)} or file.py:function",
        )
    return DEFAULTS[kind]


def find_scoring(metric: str | None, labels: NDArray[np.generic] | None, reference: Outputs) -> Scoring:
    """By `metric` (None: what the labels and outputs ask for), against labels [N, ...].

    Without labels outputs are held against `reference`, the original's: a function of the user's gets them as they
    are, miou their highest class, r2, rmse, mae and cosine their values; None is `agreement` (same class first) where
    they are class scores, else `r2` part by part (`kept_variation`). What has less as better is told as neg_rmse and
    neg_mae. Raises DataError for a metric that does not fit.
    """
    if labels is None and metric is None:
        return _unlabelled(reference)
    chosen = metric or default_metric(np.asarray(labels), reference)
    name = f"neg_{chosen}" if chosen in ERROR_METRICS else chosen
    truth: Truth = _as_labels(chosen, reference) if labels is None else labels
    return Scoring(name, truth, find_metric(chosen))


def _unlabelled(reference: Outputs) -> Scoring:
    if holds_class_scores(reference):
        return Scoring("agreement", reference, lambda outputs, _: agreement(outputs, reference))

    def by_part(outputs: Outputs) -> tuple[Floats, WorstPart]:
        return kept_variation(outputs, reference)

    return Scoring("r2", reference, lambda outputs, _: by_part(outputs)[0], by_part)


def _as_labels(metric: str, reference: Outputs) -> Truth:
    """The original's outputs in the place of labels."""
    if metric not in METRICS:
        return reference
    if metric in NUMBER_METRICS:
        raise DataError(
            f"metric {metric} needs labels",
            remedy="give labelled data, or leave it out: agreement is measured then",
        )
    if len(reference) != 1:
        raise DataError(
            f"metric {metric} without labels, for the outputs {', '.join(reference)}",
            allowed="one output",
            remedy="use --metric file.py:function",
        )
    values = next(iter(reference.values()))
    return np.argmax(values, axis=1) if metric == "miou" else values
