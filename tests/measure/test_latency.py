"""Percentiles of timing rounds and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.measure import summarize_latency

times = st.floats(min_value=1e-3, max_value=1e4)
rounds = st.lists(st.lists(times, min_size=1, max_size=12), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(rounds)
def test_estimates_lie_in_their_intervals_and_in_the_samples_range(samples: list[list[float]]) -> None:
    latency = summarize_latency(samples)
    pooled = [time_ms for times_ms in samples for time_ms in times_ms]
    for name in ("p50", "p90", "p99"):
        estimate = latency.at(name)  # type: ignore[arg-type]
        assert 0 <= estimate.low <= estimate.value <= estimate.high
        assert min(pooled) * (1 - 1e-9) <= estimate.value <= max(pooled) * (1 + 1e-9)
        assert estimate.high < float("inf")


def test_intervals_of_many_runs_lie_in_the_samples_range() -> None:
    samples = np.random.RandomState(0).gamma(9.0, 0.1, (12, 60))
    latency = summarize_latency(samples.tolist())
    for estimate in (latency.p50, latency.p90, latency.p99):
        assert samples.min() <= estimate.low <= estimate.high <= samples.max()


@settings(max_examples=60, deadline=None)
@given(rounds)
def test_higher_percentiles_are_not_lower(samples: list[list[float]]) -> None:
    latency = summarize_latency(samples)
    assert latency.p50.value <= latency.p90.value <= latency.p99.value


@settings(max_examples=30, deadline=None)
@given(rounds, st.randoms())
def test_the_order_of_runs_within_a_round_does_not_matter(samples: list[list[float]], random: object) -> None:
    shuffled = [list(times_ms) for times_ms in samples]
    for times_ms in shuffled:
        random.shuffle(times_ms)  # type: ignore[attr-defined]
    before, after = summarize_latency(samples), summarize_latency(shuffled)
    assert (before.p50, before.p90, before.p99) == (after.p50, after.p90, after.p99)


def test_the_same_rounds_give_the_same_interval() -> None:
    samples = np.random.default_rng(0).gamma(9.0, 0.1, (8, 50)).tolist()
    assert summarize_latency(samples) == summarize_latency(samples)


def test_a_constant_time_has_no_spread() -> None:
    estimate = summarize_latency([[2.0] * 5] * 4).p90
    assert (estimate.low, estimate.value, estimate.high) == (2.0, 2.0, 2.0)


def test_drift_between_rounds_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    noise = 1.0 + 0.01 * rng.random((10, 40))
    drifting = noise + np.linspace(0, 0.5, 10)[:, None]
    shuffled = rng.permutation(drifting.ravel()).reshape(10, 40)
    whole, mixed = summarize_latency(drifting.tolist()).p50, summarize_latency(shuffled.tolist()).p50
    assert whole.high - whole.low > 1.5 * (mixed.high - mixed.low)


def test_intervals_hold_the_true_median_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        state = rng.normal(0.0, 0.05, (15, 1))  # what the runs of one round share
        latency = summarize_latency((1.0 + state + rng.normal(0.0, 0.05, (15, 20))).tolist())
        held += latency.p50.low <= 1.0 <= latency.p50.high
    assert held / 200 >= 0.93


def test_raw_rounds_are_kept() -> None:
    latency = summarize_latency([[1.0, 2.0], [3.0]], warmup_runs=7, steady=False)
    assert latency.rounds_ms == ((1.0, 2.0), (3.0,))
    assert (latency.warmup_runs, latency.steady) == (7, False)


@pytest.mark.parametrize("bad", [[], [[]], [[-1.0]], [[float("nan")]]])
def test_times_that_are_none_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="latency samples"):
        summarize_latency(bad)
