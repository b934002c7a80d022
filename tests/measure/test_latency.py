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
def test_estimates_lie_in_their_intervals_and_those_in_the_samples_range(samples: list[list[float]]) -> None:
    latency = summarize_latency(samples)
    pooled = [each for one in samples for each in one]
    for name in ("p50", "p90", "p99"):
        estimate = latency.at(name)  # type: ignore[arg-type]
        assert (
            min(pooled) * (1 - 1e-9)
            <= estimate.low
            <= estimate.value
            <= estimate.high
            <= max(pooled) * (1 + 1e-9)
        )


@settings(max_examples=60, deadline=None)
@given(rounds)
def test_higher_percentiles_are_not_lower(samples: list[list[float]]) -> None:
    latency = summarize_latency(samples)
    assert latency.p50.value <= latency.p90.value <= latency.p99.value


@settings(max_examples=30, deadline=None)
@given(rounds, st.randoms())
def test_the_order_of_runs_within_a_round_does_not_matter(samples: list[list[float]], random: object) -> None:
    shuffled = [list(one) for one in samples]
    for one in shuffled:
        random.shuffle(one)  # type: ignore[attr-defined]
    before, after = summarize_latency(samples), summarize_latency(shuffled)
    if len(samples) > 1:
        assert (before.p50, before.p90, before.p99) == (after.p50, after.p90, after.p99)
    assert before.p50.value == after.p50.value


def test_the_same_seed_gives_the_same_interval() -> None:
    samples = np.random.default_rng(0).gamma(9.0, 0.1, (8, 50)).tolist()
    assert summarize_latency(samples, seed=3) == summarize_latency(samples, seed=3)


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
    for seed in range(200):
        state = rng.normal(0.0, 0.05, (15, 1))  # what the runs of one round share
        latency = summarize_latency((1.0 + state + rng.normal(0.0, 0.05, (15, 20))).tolist(), seed=seed)
        held += latency.p50.low <= 1.0 <= latency.p50.high
    assert 0.85 <= held / 200 <= 1.0


def test_raw_rounds_are_kept() -> None:
    latency = summarize_latency([[1.0, 2.0], [3.0]], warmup_runs=7, steady=False)
    assert latency.rounds_ms == ((1.0, 2.0), (3.0,))
    assert (latency.warmup_runs, latency.steady) == (7, False)


@pytest.mark.parametrize("bad", [[], [[]], [[-1.0]], [[float("nan")]]])
def test_times_that_are_none_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="latency samples"):
        summarize_latency(bad)
