"""What is no problem is refused in one line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from edgekit.errors import UserError
from edgekit.plan.solving import (
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    Transition,
    WidthGroup,
    predicted,
    solve,
)

GROUP = WidthGroup("stream", (8, 16), (1.0, 0.0))
INNER = WidthGroup("inner", (4,), (0.0,))
UNIT = LayerUnit("conv", {"fp32": PrecisionCost((1.0, 2.0))}, ("stream",))
FAST = LayerUnit("fast", {"int8": PrecisionCost((1.0, 2.0))}, ("stream",))
PROBLEM = PlanProblem(
    (GROUP, INNER), (UNIT, FAST), PlanLimits(3.0), (RemovableBlock("block", 1.0, ("inner",)),)
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"groups": (GROUP, GROUP, INNER)}, "group stream is there more than once"),
        ({"units": ()}, "a problem without units"),
        ({"units": (replace(UNIT, groups=("steam",)),)}, "group steam, which is not there"),
        ({"units": (replace(UNIT, block="b"),)}, "block b, which is not there"),
        ({"units": (replace(UNIT, groups=("inner",)),)}, "group inner, which vanishes with block block"),
        ({"units": (replace(UNIT, groups=("stream", "stream")),)}, "names a group twice: stream, stream"),
        ({"units": (replace(UNIT, costs={}),)}, "unit conv has no precision"),
        ({"units": (replace(UNIT, groups=()),)}, "has 2 values; allowed: 1"),
        ({"units": (replace(UNIT, costs={"fp32": PrecisionCost((1.0, math.nan))}),)}, "is nan"),
        ({"units": (replace(UNIT, costs={"fp32": PrecisionCost((1.0, -1.0))}),)}, "is -1.0; allowed: numbers"),
        ({"blocks": (RemovableBlock("block", 1.0, ("outer",)),)}, "group outer, which is not there"),
        ({"blocks": (RemovableBlock("block", math.inf, ("inner",)),)}, "harm of block block is inf"),
        ({"transitions": (Transition("conv", "slow", {}),)}, "unit slow, which is not there"),
        ({"transitions": (Transition("conv", "conv", {}),)}, "the same unit on both sides"),
        ({"transitions": (Transition("conv", "fast", {("fp32", "fp16"): 1.0}),)}, "precision fp16, which is not there"),
        ({"transitions": (Transition("conv", "fast", {("fp32", "int8"): -1.0}),)}, "a time of the transition"),
        ({"fixed_ms": math.nan}, "what is fixed is nan"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        replace(PROBLEM, **changes)
    assert "\n" not in str(raised.value)


def test_widths_ascend_and_have_a_harm_each() -> None:
    for widths, harm in (((16, 8), (0.0, 0.0)), ((0, 8), (0.0, 0.0)), ((), ()), ((8, 16), (0.0,))):
        with pytest.raises(UserError, match="stream"):
            WidthGroup("stream", widths, harm)


def test_a_unit_hangs_on_all_widths_of_an_attention_at_once() -> None:
    heads, keys, values = (WidthGroup(name, (1, 2), (1.0, 0.0)) for name in ("heads", "keys", "values"))
    table = tuple(float(number) for number in range(8))
    unit = LayerUnit("attention", {"fp32": PrecisionCost(table)}, ("heads", "keys", "values"))
    problem = PlanProblem((values, keys, heads), (unit,), PlanLimits(7.0))
    told = predicted(problem, {"heads": 2, "keys": 1, "values": 2}, (), {"attention": "fp32"})
    assert told.latency_ms == 5.0
    solution = solve(replace(problem, limits=PlanLimits(3.0)))
    assert (solution.plan.widths["heads"], solution.plan.harm) == (1, 1.0)


def test_a_limit_is_above_zero_and_there_is_one() -> None:
    for limits in ({}, {"latency_ms": 0.0}, {"size_bytes": math.inf}, {"latency_ms": math.nan}):
        with pytest.raises(UserError, match="limit"):
            PlanLimits(**limits)


def test_a_plan_that_the_problem_does_not_have_is_not_predicted() -> None:
    precisions = {"conv": "fp32", "fast": "int8"}
    assert predicted(PROBLEM, {"stream": 16, "inner": 4}, (), precisions).latency_ms == 4.0
    with pytest.raises(UserError, match="group stream at 12 channels; allowed: 8, 16"):
        predicted(PROBLEM, {"stream": 12, "inner": 4}, (), precisions)
    with pytest.raises(UserError, match="unit fast in precision fp32; allowed: int8"):
        predicted(PROBLEM, {"stream": 8, "inner": 4}, (), {"conv": "fp32", "fast": "fp32"})
    with pytest.raises(UserError, match="no block is called stem"):
        predicted(PROBLEM, {"stream": 8, "inner": 4}, ("stem",), precisions)
