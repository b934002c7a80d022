"""Percentiles of interleaved timing rounds as the values that the stages hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.board.intervals import percentiles
from edgekit.types import Estimate, Latency, Moment, Steadiness

__all__ = ["summarize_latency"]


def summarize_latency(
    rounds_ms: Sequence[Sequence[float]],
    *,
    warmup_runs: int = 0,
    steady: bool = True,
    turns: Sequence[int] = (),
    preemptions: int | None = None,
    steadiness: Mapping[str, Any] | None = None,
) -> Latency:
    """p50, p90 and p99 over all runs, with 95 % intervals whose unit is the round (`board/intervals.py`).

    `steadiness`: the board's certificate (`board/steadiness.py`), as the runner gives it.

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
        steadiness=None if steadiness is None else read_steadiness(steadiness),
    )


def read_steadiness(raw: Mapping[str, Any]) -> Steadiness:
    """The runner's certificate as the typed one."""
    return Steadiness(
        state=raw["state"],
        reasons=tuple(raw["reasons"]),
        notes=tuple(raw["notes"]),
        drift=float(raw["drift"]),
        attempts=int(raw["attempts"]),
        timeline=tuple(Moment(**moment) for moment in raw["timeline"]),
    )
