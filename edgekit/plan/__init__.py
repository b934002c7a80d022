"""From a target's rules to candidates and rejections, and from a budget to how narrow to prune."""

from __future__ import annotations

from edgekit.plan.narrowing import FRACTIONS, Structure, shortfall, widest_that_fits
from edgekit.plan.rules import SHORT_NAMES, Plan, candidate_id, plan_candidates

__all__ = [
    "FRACTIONS",
    "SHORT_NAMES",
    "Plan",
    "Structure",
    "candidate_id",
    "plan_candidates",
    "shortfall",
    "widest_that_fits",
]
