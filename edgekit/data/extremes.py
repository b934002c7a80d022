"""The samples of a source that are least like each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.base import DataSource

__all__ = ["most_different"]

LOOKED_AT = 256  # samples at most that are read
READ_BATCH = 16
FEWEST = 8
LARGEST_BYTES = 256 << 20  # of the chosen ones together; four times as much is read
THINNED = 4096  # values of a sample that it is judged by


def most_different(source: DataSource, count: int = 64) -> NDArray[np.int64]:
    """Indices [up to `count`] of samples spread evenly over the source, the first sample first.

    Among up to 256 such samples, those are taken for certain that have the least or the most of what networks decide
    by: zeros (padding), the place of the last value that is none, mean, spread, largest value and number of different
    values, of each input. Both counts are smaller where samples are large: 256 MiB are chosen from 1 GiB, but 8
    samples always. Of samples with more than 4,096 values every k-th value is looked at.
    """
    size = max(1, sum(array.nbytes for array in source.take(np.zeros(1, np.int64)).inputs))
    count = min(count, max(FEWEST, LARGEST_BYTES // size))
    looked_at = min(len(source), max(count, min(LOOKED_AT, 4 * LARGEST_BYTES // size)))
    places = np.unique(np.linspace(0, len(source) - 1, looked_at).astype(np.int64))
    features = []
    for start in range(0, len(places), READ_BATCH):
        batch = source.take(places[start : start + READ_BATCH]).inputs
        features.append(np.concatenate([_features(array) for array in batch], axis=1))
    table = np.concatenate(features)
    extremes = [chosen for column in table.T for chosen in (np.argmin(column), np.argmax(column))]
    spread = np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64)
    chosen = dict.fromkeys([0, *map(int, extremes), *map(int, spread)])
    return places[list(chosen)[:count]]


def _features(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """What tells samples [N, ...] apart, [N, features]."""
    rows = array.reshape(len(array), -1)
    rows = np.asarray(rows[:, :: -(-rows.shape[1] // THINNED)], np.float64)
    filled = rows != 0
    last = np.where(filled.any(axis=1), rows.shape[1] - np.argmax(filled[:, ::-1], axis=1), 0)
    different = [len(np.unique(row)) for row in rows]
    sizes = np.abs(rows).max(axis=1)
    return np.stack([filled.sum(axis=1), last, rows.mean(axis=1), rows.std(axis=1), sizes, different], axis=1)
