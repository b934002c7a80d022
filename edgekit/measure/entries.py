"""What a runner says of one entry of a job, as values: the same for a build and for a bundle that was settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.measure.latency import summarize_latency
from edgekit.types import Energy, Estimate, Latency

__all__ = ["entry_energy", "entry_latency"]


def entry_latency(entry: Mapping[str, Any], turns: Sequence[int] = ()) -> Latency | None:
    """Of a measured entry; None where it was not timed. `turns`: its place in each round, if it tells none itself."""
    if not entry.get("rounds_ms"):
        return None
    return summarize_latency(
        entry["rounds_ms"],
        warmup_runs=entry["warmup_runs"],
        steady=entry["steady"],
        turns=entry.get("turns") or turns,
        preemptions=entry["preemptions"],
        steadiness=entry.get("steadiness"),
    )


def entry_energy(entry: Mapping[str, Any]) -> Energy | None:
    """Of one inference; None where it was not asked for, or the board does not tell."""
    told = entry.get("energy") or {}
    if "value_mj" not in told:
        return None
    estimate = Estimate(told["value_mj"], told["low_mj"], told["high_mj"])
    return Energy(estimate, told["idle_watts"], told["source"])
