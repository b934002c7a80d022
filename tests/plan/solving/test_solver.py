"""The solver against every plan of small problems, and against what its own answers must hold to."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.plan.solving import PlanLimits, PlanProblem, Solution, elimination, predicted, solve
from tests.plan.solving.problems import every_plan, problems, with_latency
from tests.plan.solving.residual import residual_network

CLOSE = 1e-5


def check_against_all(problem: PlanProblem, solution: Solution) -> None:
    plans = list(every_plan(problem))
    fitting = [plan for plan in plans if plan.keeps(problem.limits)]
    if not fitting:
        assert solution.outcome == "INFEASIBLE"
        assert solution.bound == math.inf
        assert math.isnan(solution.gap)
        return
    best = min(plan.harm for plan in fitting)
    assert solution.outcome == "FOUND"
    assert any(
        plan.harm == pytest.approx(solution.plan.harm)
        and plan.latency_ms == pytest.approx(solution.plan.latency_ms)
        and plan.size_bytes == pytest.approx(solution.plan.size_bytes)
        and plan.memory_bytes == solution.plan.memory_bytes
        and plan.energy_mj == pytest.approx(solution.plan.energy_mj)
        for plan in fitting
    )
    assert solution.bound <= best + CLOSE
    assert solution.plan.harm == pytest.approx(best, abs=CLOSE)
    assert solution.gap <= 3 * CLOSE


@settings(max_examples=80, deadline=None)
@given(problems())
def test_under_one_limit_the_best_plan_is_found_and_proved(problem: PlanProblem) -> None:
    check_against_all(problem, solve(problem))


@settings(max_examples=60, deadline=None)
@given(problems(several_limits=True))
def test_under_several_limits_the_best_plan_is_found_and_proved(problem: PlanProblem) -> None:
    check_against_all(problem, solve(problem))


@settings(max_examples=25, deadline=None)
@given(problems())
def test_without_a_plan_the_fastest_is_told(problem: PlanProblem) -> None:
    least_ms = min(plan.latency_ms for plan in every_plan(problem))
    if least_ms > 0:
        solution = solve(with_latency(problem, 0.99 * least_ms))
        assert solution.outcome == "INFEASIBLE"
        assert solution.plan.latency_ms == pytest.approx(least_ms)


@settings(max_examples=25, deadline=None)
@given(problems(), st.floats(1.0, 2.0))
def test_a_wider_limit_never_does_more_harm(problem: PlanProblem, factor: float) -> None:
    assert problem.limits.latency_ms is not None
    narrow = solve(problem)
    wide = solve(with_latency(problem, factor * problem.limits.latency_ms))
    if narrow.outcome == "FOUND":
        assert wide.outcome == "FOUND"
        assert wide.plan.harm <= narrow.plan.harm + CLOSE


@settings(max_examples=25, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_equal_plans_are_told_apart_in_the_same_way_whatever_comes_first(
    problem: PlanProblem, random: object
) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        order = list(items)
        random.shuffle(order)  # type: ignore[attr-defined]
        return tuple(order)

    again = replace(
        problem,
        groups=shuffled(problem.groups),
        units=shuffled(problem.units),
        blocks=shuffled(problem.blocks),
        transitions=shuffled(problem.transitions),
    )
    first, second = solve(problem).plan, solve(again).plan
    assert dict(first.widths) == dict(second.widths)
    assert set(first.dropped) == set(second.dropped)
    assert set(first.merged) == set(second.merged)
    assert dict(first.precisions) == dict(second.precisions)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_a_plan_is_predicted_as_the_solver_says(problem: PlanProblem) -> None:
    plan = solve(problem).plan
    assert predicted(problem, plan.widths, plan.dropped, plan.precisions, plan.merged) == plan


def test_a_residual_network_is_solved_to_a_small_gap_again_and_again() -> None:
    network = residual_network(stages=2, blocks=3, widths=6)
    full = predicted(
        network,
        {group.name: group.widths[-1] for group in network.groups},
        (),
        dict.fromkeys(network.unit, "fp32"),
    )
    harms = []
    for share in (0.25, 0.12):
        problem = with_latency(network, share * full.latency_ms)
        solution = solve(problem)
        assert solution.outcome == "FOUND"
        assert solution.plan.latency_ms <= share * full.latency_ms * (1 + 1e-9)
        assert solution.relative_gap <= 0.01
        assert solve(problem) == solution
        harms.append(solution.plan.harm)
    assert 0 < harms[0] < harms[1]
    assert solution.plan.dropped


def test_split_buckets_leave_the_bound_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    network = residual_network(stages=2, blocks=2, widths=4)
    problem = with_latency(network, 0.09)
    exact = solve(problem)
    monkeypatch.setattr(elimination, "LARGEST", 40)
    split = solve(problem)
    assert exact.outcome == split.outcome == "FOUND"
    assert split.bound <= exact.plan.harm + CLOSE
    assert split.plan.harm >= exact.bound - CLOSE
    assert split.plan.latency_ms <= 0.09 * (1 + 1e-9)


def test_no_channel_is_left_to_choose_where_only_a_memory_limit_binds() -> None:
    network = residual_network(stages=1, blocks=1, widths=2)
    units = tuple(
        replace(
            unit,
            costs={name: replace(cost, memory_bytes=cost.latency_ms) for name, cost in unit.costs.items()},
        )
        for unit in network.units
    )
    limits = PlanLimits(memory_bytes=1e-6)
    solution = solve(replace(network, units=units, limits=limits))
    assert solution.outcome == "INFEASIBLE"
    assert solution.plan.memory_bytes > 1e-6
