"""Percentiles with their intervals: the same figures by every way in, with every numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.board import intervals
from edgekit.board.intervals import percentiles
from edgekit.measure import summarize_latency

times = st.floats(min_value=1e-3, max_value=1e4)
rounds = st.lists(st.lists(times, min_size=1, max_size=12), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(rounds, st.integers(0, 5))
def test_both_ways_in_give_the_same_figures(samples: list[list[float]], seed: int) -> None:
    latency = summarize_latency(samples, seed=seed)
    for estimate, interval in zip(
        (latency.p50, latency.p90, latency.p99), percentiles(samples, seed), strict=True
    ):
        assert (estimate.value, estimate.low, estimate.high) == tuple(interval)


@settings(max_examples=100, deadline=None)
@given(rounds)
def test_estimates_are_those_of_numpy(samples: list[list[float]]) -> None:
    pooled = np.concatenate([np.asarray(times_ms) for times_ms in samples])
    expected = np.percentile(pooled, [50, 90, 99])
    np.testing.assert_allclose([interval.value for interval in percentiles(samples)], expected, rtol=1e-14)


def test_figures_do_not_depend_on_the_version_of_numpy() -> None:
    """Recorded with numpy 1.19 on Python 3.6; equal to the last bit."""
    samples = [[1.0, 1.25, 1.125], [2.0, 1.75], [1.5, 1.0625, 3.0, 1.375]]
    assert percentiles(samples, seed=7) == [(1.375, 1.125, 1.75), (2.2, 1.25, 3.0), (2.92, 1.25, 3.0)]


def test_resamples_are_the_same_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.RandomState(0).gamma(9.0, 0.1, (6, 20)).tolist()
    whole = percentiles(samples)
    monkeypatch.setattr(intervals, "MAX_ELEMENTS", 7 * 120)
    assert percentiles(samples) == whole


def test_empty_rounds_do_not_count() -> None:
    assert percentiles([[1.0, 2.0], [], [3.0]]) == percentiles([[1.0, 2.0], [3.0]])
