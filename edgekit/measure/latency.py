"""Percentiles of interleaved timing rounds, with intervals that respect that runs of one round are alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.types import Estimate, Latency

__all__ = ["summarize_latency"]

PERCENTILES = (50.0, 90.0, 99.0)
RESAMPLES = 1000
MAX_ELEMENTS = 4_000_000  # of one block of resamples: 32 MB


def summarize_latency(
    rounds_ms: Sequence[Sequence[float]],
    *,
    warmup_runs: int = 0,
    steady: bool = True,
    seed: int = 0,
    turns: Sequence[int] = (),
    preemptions: int | None = None,
) -> Latency:
    """p50, p90 and p99 over all runs, with 95 % intervals from a cluster bootstrap.

    Runs within a round share the machine's state, so whole rounds are drawn with replacement (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). The percentile interval is taken,
    widened where needed to hold the estimate itself. With a single round, runs are drawn instead, which
    understates the drift between rounds. The same rounds and seed give the same intervals. Raises
    ValueError without samples, or on a time that is negative or not finite.
    """
    rounds = [np.asarray(samples, dtype=np.float64) for samples in rounds_ms if len(samples)]
    if not rounds:
        raise ValueError("no latency samples")
    pooled = np.concatenate(rounds)
    if not np.isfinite(pooled).all() or (pooled < 0).any():
        raise ValueError("latency samples must be finite and not negative")
    estimates = np.percentile(pooled, PERCENTILES)
    drawn = _resample(rounds if len(rounds) > 1 else [pooled[i : i + 1] for i in range(pooled.size)], seed)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    low, high = np.minimum(low, estimates), np.maximum(high, estimates)
    p50, p90, p99 = (
        Estimate(float(estimates[i]), float(low[i]), float(high[i])) for i in range(len(PERCENTILES))
    )
    kept = tuple(tuple(float(sample) for sample in samples) for samples in rounds)
    return Latency(
        p50,
        p90,
        p99,
        rounds_ms=kept,
        warmup_runs=warmup_runs,
        steady=steady,
        turns=tuple(turns),
        preemptions=preemptions,
    )


def _resample(clusters: Sequence[NDArray[np.float64]], seed: int) -> NDArray[np.float64]:
    """[RESAMPLES, 3] percentiles of samples of whole clusters drawn with replacement.

    A resample is a weighting of the sorted pooled runs by how often each run's cluster was drawn; its
    percentile is the first value at which the cumulated weight reaches the share (inverse empirical
    distribution).
    """
    rng = np.random.default_rng(seed)
    count = len(clusters)
    values = np.concatenate(clusters)
    owner = np.repeat(np.arange(count), [len(cluster) for cluster in clusters])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    block = max(1, MAX_ELEMENTS // values.size)
    parts = []
    for begin in range(0, RESAMPLES, block):
        weights = rng.multinomial(count, np.full(count, 1.0 / count), size=min(block, RESAMPLES - begin))
        cumulated = np.cumsum(weights[:, owner], axis=1)
        wanted = np.ceil(cumulated[:, -1:] * (np.array(PERCENTILES) / 100.0)).astype(np.int64)
        parts.append(
            np.stack([_first_reaching(cumulated, wanted[:, k]) for k in range(wanted.shape[1])], axis=1)
        )
    return values[np.concatenate(parts)]


def _first_reaching(cumulated: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per row, the first index at which the cumulated weight is at least the wanted one."""
    first: NDArray[np.int64] = np.argmax(cumulated >= wanted[:, None], axis=1).astype(np.int64)
    return first
