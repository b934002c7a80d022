"""One measured candidate."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.board.verdict import Figures, Limits, is_unchanged, measured
from edgekit.types import Budget, Candidate, Estimate, Measurement, Percentile

__all__ = ["Entry", "limits_of"]


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

    @property
    def is_boards(self) -> bool:
        """Whether it was measured on the board: another machine's power and memory say nothing of it."""
        return self.measurement.origin in ("device", "emulated")

    @property
    def energy(self) -> Estimate | None:
        """Millijoules of one inference; None where the board did not tell."""
        energy = self.measurement.energy
        return _finite(energy.per_inference_mj) if energy and self.is_boards else None

    @property
    def is_unchanged(self) -> bool:
        """Whether it is the original network in float32, which drops are counted from."""
        return is_unchanged(self.figures("p50"))

    def figures(self, percentile: Percentile) -> Figures:
        """What the rule of choice looks at."""
        latency, drop = self.latency(percentile), self.drop
        return Figures(
            id=self.id,
            variant=self.candidate.variant,
            precision=self.candidate.precision,
            size_bytes=self.size_bytes,
            latency_ms=latency.value if latency else None,
            latency_high_ms=latency.high if latency else None,
            drop=drop.value if drop else None,
            peak_memory_bytes=self.measurement.peak_memory_bytes,
            latency_low_ms=latency.low if latency else None,
            drop_low=drop.low if drop else None,
            drop_bound=accuracy.drop_bound if (accuracy := self.measurement.accuracy) else None,
            energy_high_mj=self.energy.high if self.energy else None,
            available_bytes=self.measurement.available_bytes if self.is_boards else None,
        )


def _finite(estimate: Estimate) -> Estimate | None:
    return estimate if measured(estimate.value, estimate.low, estimate.high) else None


def limits_of(budget: Budget) -> Limits:
    """What the rule of choice asks for."""
    return Limits(
        max_latency_ms=budget.max_latency_ms,
        fastest=budget.fastest,
        max_drop=budget.max_drop,
        max_size_bytes=budget.max_size_bytes,
        max_memory_bytes=budget.max_memory_bytes,
        confidence=budget.confidence,
        max_energy_mj=budget.max_energy_mj,
    )
