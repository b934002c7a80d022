"""A plan of factors as plain data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress import FactorStep, LowRankPlan
from edgekit.errors import UserError

RANKS = st.integers(1, 4096)
STEPS = st.one_of(
    st.builds(FactorStep, st.text(), st.sampled_from(["svd", "spatial"]), st.tuples(RANKS)),
    st.builds(FactorStep, st.text(), st.just("tucker"), st.tuples(RANKS, RANKS)),
)


@settings(deadline=None)
@given(st.lists(STEPS), st.integers(0, 10**12), st.integers(0, 10**12))
def test_json_holds_all_of_a_plan(steps: list[FactorStep], before: int, after: int) -> None:
    plan = LowRankPlan(tuple(steps), before, after)
    assert LowRankPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"factors": [{"layer": "a", "form": "qr", "ranks": [1]}], "original_macs": 1, "macs": 1}),
        json.dumps(
            {"factors": [{"layer": "a", "form": "tucker", "ranks": [1]}], "original_macs": 1, "macs": 1}
        ),
        json.dumps(
            {"factors": [{"layer": "a", "form": "svd", "ranks": ["x"]}], "original_macs": 1, "macs": 1}
        ),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a low-rank plan"):
        LowRankPlan.from_json(text)


def test_a_plan_reads_as_the_option_does() -> None:
    plan = LowRankPlan((FactorStep("fc1", "svd", (32,)), FactorStep("conv", "tucker", (8, 16))), 200, 50)
    assert plan.text() == "fc1=32,conv=8x16"
    assert plan.lines == ("low rank: fc1=32,conv=8x16",)
    assert (plan.changes, plan.fraction) == (True, 0.25)
    assert (LowRankPlan().changes, LowRankPlan().fraction) == (False, 1.0)
