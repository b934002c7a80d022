"""What one model for several boards would cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.fleet import CommonModel, common_model
from edgekit.result import CandidateResult, Result
from edgekit.testing.results import example_result

BASE = example_result("MEETS")
Rows = dict[str, tuple[float, float, float]]
"""Digest → (latency in ms, accuracy, drop)."""


def candidate(digest: str, latency_ms: float, value: float, drop: float) -> CandidateResult:
    example = BASE.candidates[0]
    assert example.latency_ms is not None
    assert example.accuracy is not None
    latency = replace(
        example.latency_ms, p50=latency_ms, p90=latency_ms, p99=latency_ms, low=latency_ms, high=latency_ms
    )
    return replace(
        example,
        id=f"id-{digest}",
        digest=digest,
        latency_ms=latency,
        accuracy=replace(example.accuracy, value=value, drop=drop),
        size_bytes=1000,
    )


def board(rows: Rows, winner: str, limit_ms: float = 1.0) -> Result:
    budget = replace(BASE.budget, max_latency_ms=limit_ms, max_drop=0.01, max_size_bytes=None)
    candidates = tuple(candidate(digest, *figures) for digest, figures in rows.items())
    return replace(BASE, candidates=candidates, winner=f"id-{winner}", nearest=None, budget=budget)


def test_the_most_accurate_of_those_that_keep_every_budget_is_the_common_one() -> None:
    pi = board({"a": (0.9, 0.92, 0.0), "b": (0.5, 0.91, 0.009), "c": (0.4, 0.90, 0.02)}, "a")
    nano = board({"a": (1.4, 0.92, 0.0), "b": (0.8, 0.91, 0.009), "c": (0.6, 0.90, 0.02)}, "b")
    common = common_model({"pi": pi, "nano": nano})
    assert common is not None
    assert (common.candidate, common.digest, common.meets_all) == ("id-b", "b", True)
    cost = common.costs[0]
    assert (cost.board, cost.best, cost.best_latency_ms, cost.latency_ms) == ("pi", "id-a", 0.9, 0.5)
    assert (cost.best_value, cost.value) == (0.92, 0.91)


def test_where_none_keeps_every_budget_it_is_said() -> None:
    pi = board({"a": (0.9, 0.92, 0.0)}, "a")
    nano = board({"a": (1.4, 0.92, 0.0)}, "a")
    common = common_model({"pi": pi, "nano": nano})
    assert common is not None
    assert not common.meets_all
    assert [cost.meets for cost in common.costs] == [True, False]


def test_one_name_for_two_artifacts_is_not_one_model() -> None:
    pi, nano = board({"a": (0.9, 0.92, 0.0)}, "a"), board({"b": (0.9, 0.92, 0.0)}, "b")
    nano = replace(nano, candidates=(replace(nano.candidates[0], id="id-a"),), winner="id-a")
    assert common_model({"pi": pi, "nano": nano}) is None


def test_every_limit_of_the_budget_counts() -> None:
    pi, nano = board({"a": (0.9, 0.92, 0.0)}, "a"), board({"a": (0.9, 0.92, 0.0)}, "a")
    thirsty = replace(nano, budget=replace(nano.budget, max_energy_mj=0.001))
    common = common_model({"pi": pi, "nano": thirsty})
    assert common is not None
    assert [cost.meets for cost in common.costs] == [True, False]


@pytest.mark.parametrize("origin", ["host", "emulated", "estimated"])
def test_only_what_a_board_itself_measured_counts(origin: str) -> None:
    pi, nano = board({"a": (0.9, 0.92, 0.0)}, "a"), board({"a": (0.9, 0.92, 0.0)}, "a")
    elsewhere = replace(nano.candidates[0], origin=origin)  # type: ignore[arg-type]
    assert common_model({"pi": pi, "nano": nano}) is not None
    assert common_model({"pi": pi, "nano": replace(nano, candidates=(elsewhere,))}) is None


def test_one_board_has_nothing_in_common() -> None:
    assert common_model({"pi": BASE}) is None


FIGURES = st.tuples(
    st.floats(0.1, 2.0).map(lambda ms: round(ms, 3)),
    st.floats(0.5, 1.0).map(lambda value: round(value, 3)),
    st.floats(0.0, 0.02).map(lambda drop: round(drop, 4)),
)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), FIGURES, min_size=1), min_size=2, max_size=4))
def test_nothing_that_is_shared_keeps_more_budgets_than_the_common_one(tables: list[Rows]) -> None:
    results = {f"board-{number}": board(rows, min(rows)) for number, rows in enumerate(tables)}
    common = common_model(results)
    shared = set.intersection(*(set(rows) for rows in tables))
    assert (common is None) == (not shared)
    if common is not None:
        assert common.digest in shared
        assert kept(common) == max(
            sum(rows[digest][0] <= 1.0 and rows[digest][2] <= 0.01 for rows in tables) for digest in shared
        )


def kept(common: CommonModel) -> int:
    return sum(cost.meets for cost in common.costs)
