"""What follows from a plan that was trained: numbers alone, on a frontier that the tests make up."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.building.variants.aiming import (
    MOST_TRAINED,
    OTHER,
    WORTH,
    Aim,
    Ended,
    HarmScale,
    TrainedPlan,
    harm_scale,
    next_aim,
)

LIMIT_MS, WHOLE_MS, MAX_DROP = 1.0, 2.0, 0.01

points = st.lists(st.tuples(st.floats(0.01, 10), st.floats(-0.02, 0.2)), min_size=1, max_size=5)


def trained(
    name: str = "plan-1", harm: float = 1.0, drop: float = 0.02, latency_ms: float = 0.95
) -> TrainedPlan:
    return TrainedPlan(name, harm, 0.94, drop, latency_ms, latency_ms <= LIMIT_MS)


def frontier(at_limit: float = 1.0) -> Callable[[float], float]:
    """The least harm: nothing for the network as it is, `at_limit` at the budget, and none below half of it."""
    return lambda latency_ms: at_limit * max(0.0, WHOLE_MS - latency_ms) / (WHOLE_MS - LIMIT_MS)


def decided(
    *plans: TrainedPlan, at_limit: float = 1.0, max_drop: float = MAX_DROP, floor: float = 0.0
) -> Aim | Ended:
    return next_aim(plans, LIMIT_MS, max_drop, floor, WHOLE_MS, frontier(at_limit))


@settings(deadline=None)
@given(points=points, floor=st.floats(0, 0.05), harm=st.floats(0, 20), more=st.floats(0, 5))
def test_more_harm_is_never_expected_to_lose_less(
    points: list[tuple[float, float]], floor: float, harm: float, more: float
) -> None:
    scale = harm_scale(points, floor)
    assert scale.drop(harm) <= scale.drop(harm + more) + 1e-12
    assert scale.drop(0.0) == scale.drops[0] >= 0.0
    assert list(scale.harms) == sorted(set(scale.harms))


@settings(deadline=None)
@given(points=points, floor=st.floats(0, 0.05), drop=st.floats(0, 0.3))
def test_the_harm_of_a_drop_is_expected_to_lose_just_that(
    points: list[tuple[float, float]], floor: float, drop: float
) -> None:
    scale = harm_scale(points, floor)
    harm = scale.harm(drop)
    if harm == 0.0:
        assert scale.drop(1e-9) > drop - 1e-6
    elif math.isinf(harm):
        assert scale.drop(1e6) <= drop + 1e-9
    else:
        assert scale.drop(harm) == pytest.approx(drop, abs=1e-6) or scale.drop(harm) <= drop
        assert scale.drop(harm * 1.01 + 1e-3) >= drop - 1e-9


@settings(deadline=None)
@given(harms=st.lists(st.floats(0.1, 10), min_size=1, max_size=4, unique=True), slope=st.floats(0.001, 0.1))
def test_a_scale_goes_through_points_that_do_not_contradict_each_other(
    harms: list[float], slope: float
) -> None:
    scale = harm_scale([(harm, slope * harm) for harm in harms], 0.0)
    for harm in (*harms, 0.05, 20.0):
        assert scale.drop(harm) == pytest.approx(slope * harm)


def test_points_that_contradict_each_other_are_averaged() -> None:
    assert harm_scale([(1.0, 0.03), (2.0, 0.01)], 0.0) == HarmScale((0.0, 1.0, 2.0), (0.0, 0.02, 0.02))


def test_a_plan_that_meets_and_fills_the_budget_is_the_end() -> None:
    told = decided(trained(drop=0.005))
    assert isinstance(told, Ended)
    assert told.why.startswith("plan-1 met the budget")


def test_a_plan_that_meets_is_followed_by_a_milder_one_only_where_that_saves_enough() -> None:
    told = decided(trained(drop=0.008), at_limit=0.5)
    assert isinstance(told, Aim)
    assert (told.latency_ms, told.below_harm) == (LIMIT_MS, OTHER)
    assert isinstance(decided(trained(drop=0.8 * WORTH), at_limit=0.1), Ended)
    assert isinstance(decided(trained(drop=0.008), at_limit=0.9), Ended)


@settings(deadline=None)
@given(latency_ms=st.floats(1.001, 1.5), drop=st.floats(-0.01, 0.01))
def test_what_training_made_too_slow_is_followed_by_a_faster_plan(latency_ms: float, drop: float) -> None:
    told = decided(trained(drop=drop, latency_ms=latency_ms))
    assert isinstance(told, Aim)
    assert told.latency_ms < LIMIT_MS
    # A structure that just keeps the aim is slowed down to the limit at most.
    assert told.latency_ms * latency_ms / 0.94 <= LIMIT_MS + 1e-9


@settings(deadline=None)
@given(latency_ms=st.floats(1.001, 1.5), drop=st.floats(0.0101, 0.1))
def test_what_misses_latency_and_accuracy_is_not_followed_by_a_faster_plan(
    latency_ms: float, drop: float
) -> None:
    told = decided(trained(drop=drop, latency_ms=latency_ms))
    assert isinstance(told, Aim)
    assert told.latency_ms > LIMIT_MS


def test_what_breaks_only_another_limit_is_no_reason_for_a_faster_plan() -> None:
    told = decided(TrainedPlan("plan-1", 1.0, 0.9, 0.005, 0.9, is_within=False))
    assert told == Ended("plan-1 keeps the latency, and breaks another limit")


@settings(deadline=None)
@given(drop=st.floats(0.0101, 0.3))
def test_where_the_budget_costs_too_much_accuracy_the_latency_that_does_not_is_looked_for(
    drop: float,
) -> None:
    told = decided(trained(drop=drop))
    if isinstance(told, Ended):
        assert drop > 0.13  # hardly anything may go
        return
    assert LIMIT_MS < told.latency_ms < WHOLE_MS
    expected = harm_scale([(1.0, drop)], 0.0).drop(frontier()(told.latency_ms))
    assert expected <= MAX_DROP
    assert expected == pytest.approx(0.8 * MAX_DROP, rel=0.05)
    assert told.why.startswith(f"plan-1 lost {100 * drop:.2f} points at 0.95 ms")


def test_a_budget_with_room_is_filled_before_anything_beyond_it_is_tried() -> None:
    told = decided(trained(drop=0.015, latency_ms=0.7), at_limit=0.5)
    assert isinstance(told, Aim)
    assert told.latency_ms == LIMIT_MS


def test_once_a_plan_keeps_the_accuracy_the_frontier_is_told_and_nothing_more_is_trained() -> None:
    told = decided(trained(drop=0.02), trained("plan-7", harm=0.4, drop=0.008, latency_ms=1.4))
    assert isinstance(told, Ended)
    assert told.why == (
        "plan-1 lost 2.00 points at 0.95 ms, and the fastest plan that keeps the accuracy, plan-7, took 1.4 ms"
    )


def test_a_milder_plan_that_still_loses_too_much_makes_the_next_one_milder() -> None:
    first = decided(trained(drop=0.02))
    assert isinstance(first, Aim)
    harm = frontier()(first.latency_ms)
    second = decided(trained(drop=0.02), trained("plan-7", harm, 0.015, first.latency_ms))
    assert isinstance(second, Aim)
    assert second.latency_ms > first.latency_ms


def test_no_plan_is_asked_for_where_int8_alone_loses_too_much() -> None:
    told = decided(trained(drop=0.03), floor=0.02)
    assert isinstance(told, Ended)
    assert "faster than the network itself" in told.why


def test_no_more_than_a_few_are_trained() -> None:
    many = [trained(f"plan-{n}", drop=0.02 + 0.01 * n, harm=1.0 + n) for n in range(MOST_TRAINED)]
    assert decided(*many) == Ended(f"{MOST_TRAINED} plans were trained wholly, and no more are")


def test_without_a_limit_on_accuracy_the_first_plan_within_is_the_end() -> None:
    assert isinstance(decided(trained(drop=0.5), max_drop=math.inf), Ended)
