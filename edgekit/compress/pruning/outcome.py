"""What pruning and training gave, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgekit.compress.base import NetworkPlan

if TYPE_CHECKING:
    import torch

__all__ = ["PruneOutcome", "StepRecord"]


@dataclass(frozen=True)
class StepRecord:
    """One line of history. `accuracy` and `drop` are fractions, on the samples that `validate` uses.

    `aside`: the score on the training samples held aside (see TrainReport), None without any.
    """

    kind: Literal["step", "final"]
    plan: NetworkPlan
    accuracy: float
    drop: float
    accepted: bool
    seconds: float
    shortened: bool = False
    aside: float | None = None


@dataclass(frozen=True)
class PruneOutcome:
    """The smaller, trained network (eval mode, CPU) and how it came about.

    `reason` says why pruning ended, `kept` which layers kept their width and why ("" if none had to). `shortened`: the
    deadline left out steps, or part of the final training. `opened`: files that the user's own loss or step has read,
    path → SHA-256. `aside`: the network's score on training samples held aside, None without any. `notes`: in words.
    """

    module: torch.nn.Module
    plan: NetworkPlan
    baseline: float
    history: tuple[StepRecord, ...]
    reason: str
    kept: str = ""
    shortened: bool = False
    opened: Mapping[str, str] = field(default_factory=dict)
    aside: float | None = None
    notes: tuple[str, ...] = ()
