"""The plan of least harm within limits: numbers in, choices and their bound out. Knows no network and no board."""

from __future__ import annotations

from edgekit.plan.solving.allocation import Allocation, predicted
from edgekit.plan.solving.diverse import Proposal, proposals
from edgekit.plan.solving.problem import (
    BlockWay,
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    Transition,
    WidthGroup,
    WidthTable,
)
from edgekit.plan.solving.solver import Solution, Solvability, fastest_plan, solve

__all__ = [
    "Allocation",
    "BlockWay",
    "LayerUnit",
    "PlanLimits",
    "PlanProblem",
    "PrecisionCost",
    "Proposal",
    "RemovableBlock",
    "Solution",
    "Solvability",
    "Transition",
    "WidthGroup",
    "WidthTable",
    "fastest_plan",
    "predicted",
    "proposals",
    "solve",
]
