"""Which candidate wins. Pure: no numpy, no runtime, no clock; the entries' order does not matter."""

from __future__ import annotations

from edgekit.choose.entry import Entry
from edgekit.choose.estimated import outlook, retold, speed
from edgekit.choose.frontier import pareto_frontier
from edgekit.choose.limits import check_budget, claim_sentence, judge, retry_confidence
from edgekit.choose.rules import NONE_REFUTED, choose

__all__ = [
    "NONE_REFUTED",
    "Entry",
    "check_budget",
    "choose",
    "claim_sentence",
    "judge",
    "outlook",
    "pareto_frontier",
    "retold",
    "retry_confidence",
    "speed",
]
