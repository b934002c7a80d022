"""Percentiles of interleaved timing rounds as the values that the stages hand on."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.board.intervals import percentiles
from edgekit.types import Estimate, Latency

__all__ = ["summarize_latency"]


def summarize_latency(
    rounds_ms: Sequence[Sequence[float]],
    *,
    warmup_runs: int = 0,
    steady: bool = True,
    turns: Sequence[int] = (),
    preemptions: int | None = None,
) -> Latency:
    """p50, p90 and p99 over all runs, with 95 % intervals whose unit is the round (`board/intervals.py`).

    Raises ValueError without samples, or on a time that is negative or not finite.
    """
    p50, p90, p99 = (Estimate(*interval) for interval in percentiles(rounds_ms))
    kept = tuple(tuple(float(sample) for sample in samples) for samples in rounds_ms if len(samples))
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
