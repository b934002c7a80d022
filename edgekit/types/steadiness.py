"""Whether a board was steady while it was measured, as its own sensors tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Moment", "Steadiness", "SteadyState"]

SteadyState = Literal["clean", "throttled", "unknown"]
"""`unknown`: not all sensors could be read, the rounds drifted without a sensor saying why, or others disturbed."""


@dataclass(frozen=True)
class Moment:
    """The end of one round. `t_s`: since timing began. `clock_mhz`: of the fastest CPU, under load, `temperature_c`:
    of the hottest zone; None where the board does not tell it."""

    t_s: float
    median_ms: float
    clock_mhz: float | None = None
    temperature_c: float | None = None


@dataclass(frozen=True)
class Steadiness:
    """The certificate of one measurement. `reasons` say why it is not clean, `notes` what else limits the board.

    `drift`: by what share of their median the rounds rose (or fell), 0 where that may be chance. `attempts`: runs until
    this one, which counts.
    """

    state: SteadyState
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    drift: float = 0.0
    attempts: int = 1
    timeline: tuple[Moment, ...] = ()

    @property
    def unsteady(self) -> bool:
        """Whether the run was throttled or drifted: what a strict measurement refuses."""
        return self.state == "throttled" or self.drift != 0.0
