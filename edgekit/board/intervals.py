"""Percentiles of interleaved timing rounds, with intervals that respect that runs of one round are alike."""

from typing import Any, List, NamedTuple, Sequence

import numpy as np

PERCENTILES = (50.0, 90.0, 99.0)
RESAMPLES = 1000
MAX_ELEMENTS = 4000000  # of one block of resamples: 32 MB


class Interval(NamedTuple):
    """A percentile of the runs and its 95 % interval, in their unit."""

    value: float
    low: float
    high: float


def percentiles(rounds_ms: Sequence[Sequence[float]], seed: int = 0) -> List[Interval]:
    """p50, p90 and p99 over all runs, with 95 % intervals from a cluster bootstrap.

    Runs within a round share the machine's state, so whole rounds are drawn with replacement (Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 3.8). The percentile interval is taken, widened where
    needed to hold the estimate itself. With a single round, runs are drawn instead, which understates the drift
    between rounds. The same rounds and seed give the same intervals, with every numpy from 1.13 on. Raises ValueError
    without samples, or on a time that is negative or not finite.
    """
    rounds = [np.asarray(samples, dtype=np.float64) for samples in rounds_ms if len(samples)]
    if not rounds:
        raise ValueError("no latency samples")
    pooled = np.concatenate(rounds)
    if not np.isfinite(pooled).all() or (pooled < 0).any():
        raise ValueError("latency samples must be finite and not negative")
    ordered = np.sort(pooled)
    drawn = _resample(rounds if len(rounds) > 1 else [pooled[i : i + 1] for i in range(pooled.size)], seed)
    made = []
    for percentile, resampled in zip(PERCENTILES, np.sort(drawn, axis=0).T):
        value = _percentile(ordered, percentile)
        low, high = _percentile(resampled, 2.5), _percentile(resampled, 97.5)
        made.append(Interval(value, min(low, value), max(high, value)))
    return made


def _percentile(ordered: Any, percentile: float) -> float:
    """Interpolated between the two nearest. numpy's own has rounded in another way since 1.22."""
    place = (len(ordered) - 1) * (percentile / 100.0)
    below = int(place)
    share = place - below
    left, right = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    if share >= 0.5:
        return float(right - (right - left) * (1.0 - share))
    return float(left + (right - left) * share)


def _resample(clusters: Sequence[Any], seed: int) -> Any:
    """[RESAMPLES, 3] percentiles of samples of whole clusters drawn with replacement.

    A resample is a weighting of the sorted pooled runs by how often each run's cluster was drawn; its percentile is
    the first value at which the cumulated weight reaches the share (inverse empirical distribution).
    """
    # Uniform numbers of RandomState are the same in every numpy; Generator is not in those of old boards.
    random = np.random.RandomState(seed)
    count = len(clusters)
    values = np.concatenate(clusters)
    owner = np.repeat(np.arange(count), [len(cluster) for cluster in clusters])
    order = np.argsort(values, kind="mergesort")
    values, owner = values[order], owner[order]
    block = max(1, MAX_ELEMENTS // values.size)
    parts = []
    for begin in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - begin)
        drawn = (random.random_sample((size, count)) * count).astype(np.int64)
        drawn += count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        cumulated = np.cumsum(weights[:, owner], axis=1)
        wanted = np.ceil(cumulated[:, -1:] * (np.array(PERCENTILES) / 100.0)).astype(np.int64)
        parts.append(np.stack([_first_reaching(cumulated, share) for share in wanted.T], axis=1))
    return values[np.concatenate(parts)]


def _first_reaching(cumulated: Any, wanted: Any) -> Any:
    """Per row, the first index at which the cumulated weight is at least the wanted one."""
    return np.argmax(cumulated >= wanted[:, None], axis=1)
