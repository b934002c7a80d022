"""Percentiles with their intervals: the same figures by every way in, and as often right as they say."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.board.coordinator import DEFAULTS, Coordinator
from edgekit.board.intervals import (
    DEVIATION_FACTOR,
    QUANTILES,
    STUDENT,
    Interval,
    drift,
    percentiles,
)
from edgekit.measure import summarize_latency

times = st.floats(min_value=1e-3, max_value=1e4)
rounds = st.lists(st.lists(times, min_size=1, max_size=12), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(rounds)
def test_both_ways_in_give_the_same_figures(samples: list[list[float]]) -> None:
    latency = summarize_latency(samples)
    for estimate, interval in zip((latency.p50, latency.p90, latency.p99), percentiles(samples), strict=True):
        assert (estimate.value, estimate.low, estimate.high) == tuple(interval)


@settings(max_examples=100, deadline=None)
@given(rounds)
def test_estimates_are_those_of_numpy(samples: list[list[float]]) -> None:
    pooled = np.concatenate([np.asarray(times_ms) for times_ms in samples])
    expected = np.percentile(pooled, [50, 90, 99])
    np.testing.assert_allclose([interval.value for interval in percentiles(samples)], expected, rtol=1e-14)


def test_figures_do_not_depend_on_the_version_of_numpy() -> None:
    """Recorded with numpy 1.13 on Python 3.6; equal to the last bit."""
    samples = [[1.0, 1.25, 1.125], [2.0, 1.75], [1.5, 1.0625, 3.0, 1.375]]
    assert percentiles(samples) == [
        (1.375, 0.43907002275328966, 3.0),
        (2.2, 0.5493477873419921, 5.162780023024521),
        (2.92, 0.7937822491666036, 11.765968300510892),
    ]


def test_empty_rounds_do_not_count() -> None:
    assert percentiles([[1.0, 2.0], [], [3.0]]) == percentiles([[1.0, 2.0], [3.0]])


@settings(max_examples=100, deadline=None)
@given(rounds, st.sampled_from([0.25, 2.0, 1024.0]))
def test_other_units_give_the_same_interval_in_them(samples: list[list[float]], factor: float) -> None:
    scaled = percentiles([[factor * time_ms for time_ms in times_ms] for times_ms in samples])
    expected = [Interval(*(factor * end for end in interval)) for interval in percentiles(samples)]
    assert scaled == expected


@settings(max_examples=50, deadline=None)
@given(rounds, st.randoms())
def test_the_order_of_rounds_does_not_matter(samples: list[list[float]], chance: random.Random) -> None:
    shuffled = list(samples)
    chance.shuffle(shuffled)
    assert percentiles(shuffled) == percentiles(samples)


@pytest.mark.parametrize("samples", [[[0.3]], [[0.3] * 7], [[0.3]] * 7, [[0.3] * 7] * 12, [[0.0] * 5] * 3])
def test_what_does_not_vary_has_no_width(samples: list[list[float]]) -> None:
    for value, low, high in percentiles(samples):
        assert value == samples[0][0]
        assert high - low <= 1e-12


def test_rounds_that_are_equal_narrow_what_the_runs_carry() -> None:
    for value, low, high in percentiles([[float(run) for run in range(1, 101)]] * 12):
        assert low == value
        assert high == pytest.approx(value, rel=1e-12)


def test_of_a_single_round_the_runs_count() -> None:
    samples = np.random.RandomState(0).gamma(9.0, 0.1, 400)
    p50, p90, p99 = percentiles([samples.tolist()])
    below = scipy.stats.binom.ppf([0.025, 0.975], 400, 0.5).astype(int)
    expected = np.sort(samples)[below]
    assert [p50.low, p50.high] == pytest.approx(expected, rel=0.02)
    assert p90.low < p90.value < p90.high
    assert p99.high <= samples.max()


@pytest.mark.parametrize(("runs", "beyond"), [(5, True), (30, True), (31, False), (100, False)])
def test_a_p99_that_the_runs_are_too_few_for_reaches_above_the_largest(runs: int, beyond: bool) -> None:
    """31 runs in each of 12 rounds are 372, and 0.99 ** 368 <= 0.025."""
    p99 = percentiles([[1.0 + run / runs for run in range(1, runs + 1)]] * 12)[2]
    assert (p99.high > 2.0) is beyond


def test_the_constants_are_those_of_their_laws_rounded_up() -> None:
    freedoms = np.arange(1, len(STUDENT) + 1)
    exact = {
        STUDENT: scipy.stats.t.ppf(0.975, freedoms),
        DEVIATION_FACTOR: np.sqrt(freedoms / scipy.stats.chi2.ppf(0.025, freedoms)),
    }
    for constants, values in exact.items():
        np.testing.assert_allclose(constants - values, 0.0005, atol=0.0005)
    for share, deviate, enough_runs in QUANTILES:
        assert deviate == pytest.approx(scipy.stats.norm.ppf(share), abs=1e-4)
        assert share**enough_runs <= 0.025 < share ** (enough_runs - 1)


# ---- as often right as they say ----------------------------------------------------------------------------

SHAPE = (400, 12, 60)
"""Simulated measurements, rounds of each, runs of a round."""


def effects(chance: np.random.RandomState, deviation: float) -> Any:
    """What the runs of one round share."""
    return np.exp(chance.normal(0.0, deviation, (*SHAPE[:2], 1)))


def bursts(chance: np.random.RandomState) -> Any:
    """In one round of four, a fifth of the runs in a row is slower by 40 %."""
    begin = np.floor(48 * chance.random_sample((*SHAPE[:2], 1)))
    slow = (np.arange(60) >= begin) & (np.arange(60) < begin + 12)
    return 1 + 0.4 * (slow & (chance.random_sample((*SHAPE[:2], 1)) < 0.25))


def resembling(chance: np.random.RandomState) -> Any:
    """Each run resembles the one before it by 0.9."""
    states = chance.normal(0.0, 1.0, SHAPE)
    for run in range(1, SHAPE[2]):
        states[:, :, run] = 0.9 * states[:, :, run - 1] + np.sqrt(1 - 0.9**2) * states[:, :, run]
    return np.exp(0.04 * states)


@pytest.mark.parametrize("case", ["independent", "rounds 2 %", "rounds 5 %", "bursts", "autocorrelated"])
def test_intervals_hold_the_truth(case: str) -> None:
    chance = np.random.RandomState(0)
    noise = np.exp(chance.normal(0.0, 0.04, SHAPE))
    samples = {
        "independent": lambda: noise,
        "rounds 2 %": lambda: noise * effects(chance, 0.02),
        "rounds 5 %": lambda: noise * effects(chance, 0.05),
        "bursts": lambda: noise * bursts(chance),
        "autocorrelated": lambda: resembling(chance),
    }[case]()
    truths = np.percentile(samples, (50, 90, 99))  # over all rounds of all measurements
    made = np.array([percentiles(sample) for sample in samples])
    held = np.mean((made[:, :, 1] <= truths) & (truths <= made[:, :, 2]), axis=0)
    below = np.mean(made[:, :, 2] < truths, axis=0)
    assert (held[:2] >= 0.93).all()
    assert (below[:2] <= 0.05).all()
    assert held[2] >= 0.88


# ---- drift -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "count"), [(0.1, 12), (-0.1, 12), (0.05, 12), (0.1, 6)])
def test_a_drift_is_told_with_its_size(change: float, count: int) -> None:
    noise = np.random.RandomState(1).normal(0.0, 0.002, count)
    medians = 3.0 * (1 + change * (np.linspace(0.0, 1.0, count) - 0.5) + noise)
    assert drift(medians.tolist()) == pytest.approx(change, rel=0.25)


def test_chance_is_seldom_taken_for_a_drift() -> None:
    chance = np.random.RandomState(0)
    told = [drift((1 + chance.normal(0.0, 0.05, 12)).tolist()) != 0 for _ in range(2000)]
    assert np.mean(told) <= 0.025


@pytest.mark.parametrize(
    "medians", [[], [1.0], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 12, list(1 + 1e-3 * np.arange(12))]
)
def test_too_few_rounds_or_too_small_a_change_are_no_drift(medians: list[float]) -> None:
    assert drift(medians) == 0.0


class FakePeer:
    """A worker that was timed already."""

    def __init__(self, rounds_ms: list[list[float]]) -> None:
        self.result: dict[str, Any] = {"steady": True, "notes": [], "rounds_ms": rounds_ms}

    def ask(self, question: str) -> dict[str, Any]:
        return {"peak_memory_bytes": 1}


def judged(medians: Any) -> dict[str, Any]:
    peer = FakePeer([[float(median)] * 5 for median in medians])
    job = {**DEFAULTS, "cpus": None, "entries": []}
    Coordinator(job, lambda message: None).judge(peer)  # type: ignore[arg-type]
    return peer.result


def test_rounds_that_drift_are_not_steady() -> None:
    """Too little for the spread of the rounds, which looks at half of them."""
    rising = judged(1 + np.linspace(0.0, 0.06, 12))
    assert not rising["steady"]
    assert rising["notes"] == ["medians of the rounds rose by 6 % from the first to the last"]
    falling = judged(1 - np.linspace(0.0, 0.06, 12))
    assert falling["notes"] == ["medians of the rounds fell by 6 % from the first to the last"]
    mixed = judged(1 + np.random.RandomState(0).permutation(np.linspace(0.0, 0.06, 12)))
    assert (mixed["steady"], mixed["notes"]) == (True, [])
