"""Estimates in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.choose import Entry, choose, outlook, retold, speed
from edgekit.types import Budget, Candidate, Choice, Estimate, Latency, Measurement
from tests.building.parts import attempt, measurement


def estimated(name: str, low: float, likely: float, high: float, drop: float = 0.0) -> Entry:
    at = Estimate(likely, low, high)
    taken: Measurement = replace(
        measurement(name),
        origin="estimated",
        latency=Latency(at, at, at, rounds_ms=(), warmup_runs=0, steady=True),
        accuracy=attempt(name, drop=drop).accuracy,
    )
    return Entry(Candidate(name, "original", "onnxruntime", "int8"), taken, 1000)


def told(entries: list[Entry], limit_ms: float | None) -> Choice:
    budget = Budget(max_latency_ms=limit_ms, fastest=limit_ms is None, max_drop=0.01)
    return retold(choose(budget, entries), entries, budget)


@pytest.mark.parametrize(
    ("limit", "said"), [(30.0, "within"), (24.8, "within"), (10.0, "open"), (3.0, "beyond")]
)
def test_a_range_is_within_a_limit_beyond_it_or_open(limit: float, said: str) -> None:
    assert outlook(3.45, 24.8, limit) == said


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (30.0, "all within 30.00 ms"),
        (10.0, "whether within 10.00 ms can't be told"),
        (3.0, "no range reaches down to 3.00 ms: the lowest begins at 3.45 ms"),
    ],
)
def test_an_estimate_is_never_told_as_an_interval(limit: float, said: str) -> None:
    choice = told([estimated("a", 3.45, 6.95, 24.8)], limit)
    assert said in choice.explanation
    assert "3.45 ms to 24.80 ms (likely 6.95 ms)" in choice.explanation
    assert "[" not in choice.explanation + "".join(choice.reasons.values())


def test_ranges_that_overlap_leave_open_which_is_fastest() -> None:
    choice = told(
        [estimated("a", 1.0, 2.0, 4.0), estimated("b", 1.5, 3.0, 6.0), estimated("c", 50, 60, 70)], None
    )
    assert (
        "its range and that of another candidate overlap: which one is fastest can't be told"
        in choice.explanation
    )
    apart = told([estimated("a", 1.0, 2.0, 4.0), estimated("c", 50, 60, 70)], None)
    assert "overlap" not in apart.explanation


def test_the_other_limits_that_an_estimated_candidate_misses_are_still_told() -> None:
    choice = told([estimated("a", 1.0, 2.0, 4.0), estimated("b", 1.0, 2.0, 4.0, drop=0.05)], 10.0)
    assert "less accurate than the budget" in choice.reasons["b"]


def test_a_ratio_stands_with_its_range_and_without_one_where_the_intervals_overlap() -> None:
    slow, fast = Estimate(2.0, 1.9, 2.2), Estimate(1.0, 0.9, 1.1)
    assert speed(fast, slow) == "2.00 times faster (1.73 to 2.44)"
    assert speed(slow, fast) == "2.00 times slower (1.73 to 2.44)"
    assert speed(Estimate(1.8, 1.5, 2.0), slow) == ""
    assert speed(fast, fast) == ""
    assert speed(Estimate(1.0, 0.0, 1.1), slow) == ""
