"""From measured candidates to a choice: each against the budget, ratios against the fastest float build."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from edgekit.building.candidates.estimates import with_point_latency
from edgekit.building.values import Attempt
from edgekit.choose import NONE_REFUTED, Entry, choose, retold
from edgekit.types import Budget, Choice, Failure, Measurement, Rejection

__all__ = ["judged", "without"]


def judged(
    budget: Budget,
    attempts: Sequence[Attempt],
    measurements: Mapping[str, Measurement],
    failures: Sequence[Failure],
    rejections: Sequence[Rejection],
    refuted: Mapping[str, str] = NONE_REFUTED,
) -> Choice:
    """The choice among the attempts that were measured, told in ranges among estimates. `refuted`: see `choose`."""
    entries = [
        Entry(attempt.candidate, measurements[attempt.candidate.id], attempt.artifact.size_bytes)
        for attempt in attempts
        if attempt.candidate.id in measurements
    ]
    ranked = [with_point_latency(entry) for entry in entries]
    is_estimate = any(entry.measurement.origin == "estimated" for entry in entries)
    if is_estimate:  # energy is the board's alone to tell: settling there judges it
        budget = replace(budget, max_energy_mj=None)
    choice = choose(
        budget, ranked, baseline_id(entries), refuted=refuted, failures=failures, rejections=rejections
    )
    return retold(choice, entries, budget) if is_estimate else choice


def baseline_id(entries: Sequence[Entry]) -> str | None:
    """The fastest float32 build of the original: the honest baseline of every ratio."""
    floats = [
        entry
        for entry in entries
        if entry.candidate.variant == "original" and entry.candidate.precision == "fp32"
    ]
    return min(floats, key=latency_p50).id if floats else None


def latency_p50(entry: Entry) -> float:
    """Milliseconds; entries without a latency come last."""
    latency = entry.measurement.latency
    return latency.p50.value if latency else float("inf")


def without(measurements: Mapping[str, Measurement], broken: Collection[Failure]) -> dict[str, Measurement]:
    """The measurements of candidates that did not break."""
    names = {failure.candidate for failure in broken}
    return {name: measurement for name, measurement in measurements.items() if name not in names}
