"""A metric of a whole set, as scores per sample: what each group of samples adds to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError

__all__ = ["group_scores"]

MOST_GROUPS = 50
Outputs = Mapping[str, NDArray[np.generic]]


def group_scores(
    metric: Callable[[Outputs, Any], Any], outputs: Outputs, truth: NDArray[Any] | Outputs
) -> NDArray[np.float64]:
    """Scores [N] whose mean is `metric(outputs, truth)`, one number, and whose standard error is its own.

    The delete-a-group jackknife: sample i belongs to group i mod G, G at most 50; a group's pseudo-value is
    G times the metric of all minus (G - 1) times that of all others (Shao and Wu, Ann. Stat. 17, 1989). Their spread
    is told to each sample, scaled by sqrt((N - 1) / (G - 1)), as a group's samples share one. Both networks are
    divided alike, so that differences stay paired. Raises DataError for one sample, and where a part has no number.
    """
    count = len(next(iter(outputs.values())))
    groups = min(MOST_GROUPS, count)
    if groups < 2:
        raise DataError("one sample has no interval", allowed="two samples or more")
    value = float(metric(outputs, truth))
    owner = np.arange(count) % groups
    left_out = np.array([float(metric(*_without(outputs, truth, owner == group))) for group in range(groups)])
    if not np.isfinite(left_out).all():
        raise DataError(
            "the metric is not finite on a part of the samples", allowed="a finite number for any part"
        )
    change = (groups - 1) * (value - left_out)[owner]
    return np.asarray(value + (change - change.mean()) * math.sqrt((count - 1) / (groups - 1)))


def _without(outputs: Outputs, truth: NDArray[Any] | Outputs, gone: NDArray[np.bool_]) -> tuple[Outputs, Any]:
    kept = np.flatnonzero(~gone)
    part = {name: values[kept] for name, values in outputs.items()}
    if isinstance(truth, Mapping):
        return part, {name: values[kept] for name, values in truth.items()}
    return part, truth[kept]
