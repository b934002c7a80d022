"""From a target's rules to candidates and rejections."""

from __future__ import annotations

from edgekit.plan.rules import SHORT_NAMES, Plan, candidate_id, plan_candidates

__all__ = ["SHORT_NAMES", "Plan", "candidate_id", "plan_candidates"]
