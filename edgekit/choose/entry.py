"""One measured candidate, and the order in which candidates are preferred."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.types import Budget, Candidate, Estimate, Measurement, Percentile, Precision

__all__ = ["Entry", "latency_value", "pointless", "rank"]

FLOATS: frozenset[Precision] = frozenset({"fp32", "bf16", "fp16"})


@dataclass(frozen=True)
class Entry:
    """A candidate with what was measured of it. `size_bytes` is the artifact's, all files together."""

    candidate: Candidate
    measurement: Measurement
    size_bytes: int

    @property
    def id(self) -> str:
        return self.candidate.id

    def latency(self, percentile: Percentile) -> Estimate | None:
        """Milliseconds at the percentile; None when it was not measured or is not a number."""
        latency = self.measurement.latency
        return _finite(latency.at(percentile)) if latency else None

    @property
    def drop(self) -> Estimate | None:
        """The paired accuracy drop, a fraction; None when it was not measured or is not a number."""
        accuracy = self.measurement.accuracy
        return _finite(accuracy.drop) if accuracy else None


def _finite(estimate: Estimate) -> Estimate | None:
    numbers = (estimate.value, estimate.low, estimate.high)
    return estimate if all(math.isfinite(number) for number in numbers) else None


def latency_value(entry: Entry, percentile: Percentile) -> float:
    """Milliseconds; infinite when not measured, so that the unmeasured sort last."""
    latency = entry.latency(percentile)
    return latency.value if latency else math.inf


def drop_value(entry: Entry) -> float:
    return entry.drop.value if entry.drop else math.inf


def rank(entry: Entry, budget: Budget) -> tuple[float, float, int, str]:
    """Smaller is preferred; a total order, since ids are unique.

    The most accurate first (smallest drop), then the fastest at the budget's percentile, then the smallest
    file, then the id. With `fastest`, latency comes before accuracy.
    """
    drop, latency = drop_value(entry), latency_value(entry, budget.percentile)
    first, second = (latency, drop) if budget.fastest else (drop, latency)
    return first, second, entry.size_bytes, entry.id


def pointless(entry: Entry, rivals: list[Entry], percentile: Percentile) -> Entry | None:
    """The float build of the same variant that is faster than this quantized one, if there is any.

    Such a candidate is never chosen: quantizing it bought nothing, and where it looks more accurate than its
    own float build, that is noise of the samples.
    """
    if entry.candidate.precision in FLOATS:
        return None
    own = latency_value(entry, percentile)
    faster = [
        rival
        for rival in rivals
        if rival.candidate.variant == entry.candidate.variant
        and rival.candidate.precision in FLOATS
        and latency_value(rival, percentile) < own
    ]
    return min(faster, key=lambda rival: (latency_value(rival, percentile), rival.id), default=None)
