"""What a build says of its plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.building.variants.planning_result import how_it_ended
from edgekit.building.variants.proposing import Search, TimedPlan
from edgekit.compress import PrunePlan
from edgekit.plan import Structure
from edgekit.plan.solving import Allocation
from edgekit.types import Budget, Origin

BUDGET = Budget(max_latency_ms=0.12)
PLAN = TimedPlan("plan-1", Allocation({}, (), {}, 1.0, 0.1, 1.0, 1.0, 0.0), PrunePlan(), 0.1, None)


@pytest.mark.parametrize(
    ("origin", "within", "told"),
    [
        ("device", 2, "2 of 3 plans keep within 0.12 ms; measured times were 1.16 of the predicted ones"),
        ("device", 0, "none of 3 plans keeps within 0.12 ms"),
        ("estimated", 2, "2 of 3 plans keep within 0.12 ms by the table's estimate"),
        ("estimated", 0, "none of 3 plans keeps within 0.12 ms by the table's estimate"),
    ],
)
def test_how_a_search_ended_is_told_and_no_estimate_is_called_measured(
    origin: Origin, within: int, told: str
) -> None:
    kept = replace(PLAN, structure=Structure(0.5, 0.11, 1, 1))
    plans = (kept,) * within + (PLAN,) * (3 - within)
    assert how_it_ended(Search(plans, (), 1.16, ()), BUDGET, origin) == told
