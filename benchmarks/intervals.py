"""How often the 95 % intervals of a latency hold the truth, how often drift is told, how often a verdict is wrong.

usage: python benchmarks/intervals.py [--times 1000] [--rounds 12] [--runs 60]
Simulated times, numpy only. A truth is the percentile over very many rounds of the same law; with drift, over the
window. "below" is how often the whole interval lies below the truth: the verdict stands on the upper end. False
verdicts: candidates that all are 1 % slower than the budget at p90, drawn alike; "meets" is how often some candidate
meets it, "twice" how often the fastest of those does so again in rounds of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
from common import show

from edgekit.board.intervals import Interval, drift, percentiles

NAMES = ("p50", "p90", "p99")
NOISE = 0.04  # deviation of the logarithm of one run
OVER = 0.01  # by which the candidates of the false verdicts are slower than the budget
ROUNDS_OF_TRUTH = 60000
BLOCK = 1000

Shape = tuple[int, int, int]
Case = Callable[[np.random.RandomState, Shape], np.ndarray]
"""Draws times [repetition, round, run]."""


def noise(random: np.random.RandomState, shape: Shape, deviation: float = NOISE) -> np.ndarray:
    return np.exp(random.normal(0.0, deviation, shape))


def effects(random: np.random.RandomState, shape: Shape, deviation: float) -> np.ndarray:
    """What the runs of one round share [repetition, round, 1]."""
    return np.exp(random.normal(0.0, deviation, (*shape[:2], 1)))


def between(deviation: float, within: float = NOISE) -> Case:
    """Effects between rounds."""
    return lambda random, shape: noise(random, shape, within) * effects(random, shape, deviation)


def slow_rounds(random: np.random.RandomState, shape: Shape) -> np.ndarray:
    """One round in four is slower by 8 %, as by a neighbour on the machine."""
    return noise(random, shape) * (1 + 0.08 * (random.random_sample((*shape[:2], 1)) < 0.25))


def long_bursts(random: np.random.RandomState, shape: Shape) -> np.ndarray:
    """In one round of four, 10 to 40 % of the runs in a row are slower by 40 %."""
    rounds = (*shape[:2], 1)
    begin, length = 0.75 * random.random_sample(rounds), 0.1 + 0.3 * random.random_sample(rounds)
    place = np.arange(shape[2]) / shape[2]
    slow = (random.random_sample(rounds) < 0.25) & (place >= begin) & (place < begin + length)
    return between(0.01)(random, shape) * (1 + 0.4 * slow)


def short_bursts(random: np.random.RandomState, shape: Shape) -> np.ndarray:
    """At one run of fifty a burst of ten begins, slower by 30 %."""
    begun = np.cumsum(random.random_sample(shape) < 0.02, axis=2)
    slow = begun.copy()
    slow[:, :, 10:] -= begun[:, :, :-10]
    return noise(random, shape) * (1 + 0.3 * (slow > 0))


def autocorrelated(random: np.random.RandomState, shape: Shape) -> np.ndarray:
    """A run resembles the one before it by 0.9."""
    states = random.normal(0.0, 1.0, shape)
    for run in range(1, shape[2]):
        states[:, :, run] = 0.9 * states[:, :, run - 1] + np.sqrt(1 - 0.9**2) * states[:, :, run]
    return np.exp(NOISE * states)


def long_tailed(random: np.random.RandomState, shape: Shape) -> np.ndarray:
    return effects(random, shape, 0.02) * (1 + 0.1 * random.gamma(1.0, 1.0, shape))


def drifting(change: float) -> Case:
    """Rises in a line from the first round to the last, over effects of 1 %."""
    return lambda random, shape: (
        between(0.01)(random, shape) * (1 + change * np.linspace(0.0, 1.0, shape[1]))[:, None]
    )


CASES: dict[str, Case] = {
    "independent": noise,
    "rounds 2 %": between(0.02),
    "rounds 5 %": between(0.05),
    "rounds 5 %, runs 1.5 %": between(0.05, within=0.015),
    "slow rounds": slow_rounds,
    "long bursts": long_bursts,
    "short bursts": short_bursts,
    "autocorrelated": autocorrelated,
    "long tail": long_tailed,
    "drift 5 %": drifting(0.05),
    "drift 10 %": drifting(0.10),
}
VERDICTS = ("independent", "rounds 2 %", "rounds 5 %", "long bursts", "autocorrelated")
CANDIDATES = (1, 10, 20)


def truths(case: Case, rounds: int, runs: int) -> list[float]:
    """The percentiles of very many runs."""
    random = np.random.RandomState(1)
    drawn = [case(random, (BLOCK, rounds, runs)) for _ in range(max(1, ROUNDS_OF_TRUTH // (BLOCK * rounds)))]
    return [float(value) for value in np.percentile(np.concatenate(drawn), (50, 90, 99))]


def coverage(case: Case, times: int, rounds: int, runs: int) -> dict[str, dict[str, float]]:
    """Percentile → per cent of the intervals that hold the truth, and lie below it; their median width."""
    drawn = case(np.random.RandomState(2), (times, rounds, runs))
    made = [percentiles(sample) for sample in drawn]
    rows: dict[str, dict[str, float]] = {}
    for index, (name, truth) in enumerate(zip(NAMES, truths(case, rounds, runs), strict=True)):
        intervals: Sequence[Interval] = [estimates[index] for estimates in made]
        rows[name] = {
            "holds": share([interval.low <= truth <= interval.high for interval in intervals]),
            "below": share([interval.high < truth for interval in intervals]),
            "width": share([(interval.high - interval.low) / truth for interval in intervals], np.median),
        }
    told = [drift([float(np.median(samples)) for samples in sample]) != 0 for sample in drawn]
    return {**rows, "drift": {"told": share(told)}}


def share(values: Sequence[float], over: Callable[[Sequence[float]], np.floating] = np.mean) -> float:
    """Per cent."""
    return round(100 * float(over(values)), 1)


def false_verdicts(case: Case, candidates: int, times: int, rounds: int, runs: int) -> dict[str, float]:
    """Per cent of builds in which some candidate seems to meet a budget that all miss."""
    budget = truths(case, rounds, runs)[1] / (1 + OVER)
    random = np.random.RandomState(3)
    first, second = [], []
    for _ in range(times):
        made = [percentiles(sample)[1] for sample in case(random, (candidates, rounds, runs))]
        again = percentiles(case(random, (1, rounds, runs))[0])[1]
        meets = any(interval.high <= budget for interval in made)
        first.append(meets)
        second.append(meets and again.high <= budget)
    return {"meets": share(first), "twice": share(second)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--runs", type=int, default=60, help="in a round")
    options = parser.parse_args()
    shape = (options.times, options.rounds, options.runs)
    held = {}
    for name, case in CASES.items():
        held[name] = coverage(case, *shape)
        print(name, held[name], file=sys.stderr, flush=True)
    wrong = {}
    for name in VERDICTS:
        wrong[name] = {
            f"{count} candidates": false_verdicts(CASES[name], count, *shape) for count in CANDIDATES
        }
        print(name, wrong[name], file=sys.stderr, flush=True)
    show("intervals", {"times": shape[0], "rounds": shape[1], "runs": shape[2], "held": held, "wrong": wrong})


if __name__ == "__main__":
    main()
