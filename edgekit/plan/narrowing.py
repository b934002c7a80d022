"""How narrow a pruned network has to be: untrained structures are measured first, training goes to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.types import Budget, Estimate

__all__ = ["FRACTIONS", "MARGIN", "Structure", "shortfall", "widest_that_fits"]

FRACTIONS = tuple(round(0.9 - 0.05 * step, 2) for step in range(15))
"""Shares of the original's MACs that are probed. A grid: the pick does not hang on a noisy microsecond."""

MARGIN = 0.04
"""Room left under the latency limit: training may keep other channels than the probe did."""


@dataclass(frozen=True)
class Structure:
    """One untrained structure, exported like the original's build `like`. `latency_ms` is the interval's high end.

    `energy_mj`: of one inference, taken to go with its time; None where the original's is not known. `variant`: the
    network's own id. `median`: its interval, milliseconds; of an estimate its one value.
    """

    fraction: float
    latency_ms: float
    size_bytes: int
    peak_memory_bytes: int
    like: str = ""
    energy_mj: float | None = None
    variant: str = ""
    median: Estimate | None = None


def widest_that_fits(structures: Sequence[Structure], budget: Budget) -> Structure | None:
    """The structure with the most MACs that keeps within all limits, in whatever runtime; None if none does."""
    fitting = [structure for structure in structures if not shortfall(structure, budget)]
    return max(fitting, key=lambda structure: structure.fraction, default=None)


def shortfall(structure: Structure, budget: Budget) -> str:
    """In words, which limit the structure breaks; empty when it keeps all."""
    limit_ms = budget.max_latency_ms
    if limit_ms is not None and structure.latency_ms > limit_ms * (1 - MARGIN):
        return f"{structure.latency_ms:.3f} ms at {budget.percentile} of {limit_ms:g} ms (with {MARGIN:.0%} to spare)"
    if budget.max_size_bytes is not None and structure.size_bytes > budget.max_size_bytes:
        return f"{structure.size_bytes:,} bytes of {budget.max_size_bytes:,}"
    if budget.max_memory_bytes is not None and structure.peak_memory_bytes > budget.max_memory_bytes:
        return f"{structure.peak_memory_bytes:,} bytes of memory of {budget.max_memory_bytes:,}"
    limit_mj = budget.max_energy_mj
    if (
        limit_mj is not None
        and structure.energy_mj is not None
        and structure.energy_mj > limit_mj * (1 - MARGIN)
    ):
        return f"{structure.energy_mj:.3g} mJ of {limit_mj:g} mJ (with {MARGIN:.0%} to spare)"
    return ""
