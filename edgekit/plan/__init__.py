"""From a target's rules to candidates and rejections, and from a budget to how narrow to prune."""

from __future__ import annotations

from edgekit.plan.estimate import Roofline, roofline
from edgekit.plan.narrowing import FRACTIONS, Structure, shortfall, widest_that_fits
from edgekit.plan.rules import Plan, candidate_id, least_need_bytes, plan_candidates
from edgekit.plan.sparsity import is_stored_sparse, why_not_faster_sparse

__all__ = [
    "FRACTIONS",
    "Plan",
    "Roofline",
    "Structure",
    "candidate_id",
    "is_stored_sparse",
    "least_need_bytes",
    "plan_candidates",
    "roofline",
    "shortfall",
    "why_not_faster_sparse",
    "widest_that_fits",
]
