"""What is asked for, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.types.measurements import Percentile

__all__ = ["METHODS", "Budget", "Choice", "OutputsAre", "QatChoice", "Verdict"]


@dataclass(frozen=True)
class Budget:
    """What the user asks for. `fastest` means: as fast as possible within the accuracy limit.

    `confidence`, 0.5 to below 1: of the drop's interval whose high end must lie under `max_drop`; None: its value must.
    `max_energy_mj`: of one inference, beyond the idle board. `max_memory_bytes` asks too that
    the board has the peak free.
    """

    max_latency_ms: float | None = None
    fastest: bool = False
    percentile: Percentile = "p90"
    max_drop: float | None = 0.01
    max_size_bytes: int | None = None
    max_memory_bytes: int | None = None
    confidence: float | None = None
    max_energy_mj: float | None = None


OutputsAre = Literal["auto", "logits", "values", "embedding", "maps", "scores", "boxes"]
"""What an output holds, where its shape does not tell: see `compress/training/kinds.py`."""

QatChoice = Literal["auto", "always", "never"]
"""When networks are trained for the integers of a runtime (quantization-aware training).

`auto`: where no INT8 build of a network keeps the accuracy limit, unless nothing is to be trained or the budget is met
without.
"""


METHODS = ("prune", "low-rank", "drop", "merge", "student", "qat", "sparse")
"""What makes a network smaller, sparse or fit for integers by training, as `--compress` names it."""


Verdict = Literal["MEETS", "MISSES", "INFEASIBLE", "PROVISIONAL"]
"""`PROVISIONAL`: the board is not here, latency is estimated; a run on the board settles it."""


@dataclass(frozen=True)
class Choice:
    """The verdict, and for every candidate that was measured why it is or is not the winner."""

    verdict: Verdict
    winner: str | None
    nearest: str | None
    explanation: str
    frontier: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
