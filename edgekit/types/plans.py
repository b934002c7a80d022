"""What a build says of its plans: which widths and blocks were proposed, what they took, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.types.candidates import BackendName, Precision
from edgekit.types.measurements import Origin, Percentile

__all__ = ["LayerStaircase", "PlanResult", "PlanningResult"]


@dataclass(frozen=True)
class LayerStaircase:
    """A layer's time by its output channels, at all its input channels, as the table has it.

    `points`: channels, milliseconds, and the ends of their interval; by channels. `channels`: those that it has.
    """

    layer: str
    channels: int
    points: tuple[tuple[int, float, float, float], ...]


@dataclass(frozen=True)
class PlanResult:
    """One plan. `predicted_ms`: by the table, which knows no percentile; `latency_ms`: of the untrained structure, the
    high end of the budget's percentile, None where no runtime told.

    `harm`: what the solver expects, which ranks plans and is no drop of accuracy. `macs`: what is left, a fraction.
    `dropped`, `merged`: blocks that are gone, and whose convolutions became one; `widths`: narrowed groups → channels
    left and channels before. `untrained`: its score before any training;
    `scores`: after each rung of the contest, on samples held aside from training (all fractions). `variant`: the
    network that it became; "" where another plan won, or it breaks the budget, which `why` says. `drop`, `trained_ms`:
    of the trained network's best build, as the budget counts accuracy (a fraction) and latency; None where none was
    measured.
    """

    id: str
    predicted_ms: float
    latency_ms: float | None
    harm: float
    macs: float
    dropped: tuple[str, ...] = ()
    widths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    untrained: float | None = None
    scores: tuple[float, ...] = ()
    variant: str = ""
    why: str = ""
    drop: float | None = None
    trained_ms: float | None = None
    merged: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanningResult:
    """The plans of a build, in the order in which they were proposed.

    `table`: where its times were measured, in words; `origin`: of the plans' own times. `limit_ms`: the budget's;
    `original_ms`: the network as it is, predicted. `kept`: layers that stay whole → why. `staircases`: of the layers
    that take most time. `reason`: how the search ended, and why nothing more was trained.
    """

    runtime: BackendName
    precision: Precision
    table: str
    origin: Origin
    percentile: Percentile
    limit_ms: float
    original_ms: float
    plans: tuple[PlanResult, ...]
    reason: str
    kept: Mapping[str, str] = field(default_factory=dict)
    staircases: tuple[LayerStaircase, ...] = ()
    notes: tuple[str, ...] = ()
