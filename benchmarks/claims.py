"""How often a verdict is wrong, simulated: a true miss called MEETS, a true MEETS called a miss.

    python benchmarks/claims.py [--times 1000]

Candidates are judged by the project's own rule (`board/verdict.py`), paired intervals and bounds, on made-up answers.
Three tables: the accuracy claim by the rule of before (the winner by validation alone, by its value on test) and by
the procedure (docs/claim.md), without and with --confidence; the latency of the one picked, without and with the
confirming run; and how often the interval of a drop without labels holds the truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from common import show

from edgekit.board.intervals import percentiles
from edgekit.board.verdict import Figures, Limits, decide
from edgekit.choose import retry_confidence
from edgekit.measure import estimate_drop
from edgekit.measure.accuracy import skewed_accuracy
from edgekit.types import Budget

LIMIT = 0.01
CONFIDENCE = 0.95
TRIES = 4
GAINED = 0.01  # share of samples that a compressed network gets right and the original does not
DROPS = {
    "all at twice the limit": (0.02, 0.02),
    "all just over": (0.011, 0.011),
    "all well under": (0.0, 0.0),
}
MIXED = "the first half over, the others under"
BUDGET = Budget(max_drop=LIMIT)


@lru_cache(maxsize=100_000)
def drop_of(lost: int, won: int, samples: int, confidence: float) -> tuple[float, float, float]:
    """The drop with its interval."""
    scores, reference = np.ones(samples), np.ones(samples)
    scores[:lost], reference[lost : lost + won] = 0.0, 0.0
    drop = estimate_drop(scores, reference, confidence)
    return drop.value, drop.low, drop.high


def answers(chance: np.random.Generator, drop: float, samples: int) -> tuple[int, int, int]:
    """(lost, won, samples) of a network that truly drops so much."""
    lost, won, _ = chance.multinomial(samples, (GAINED + drop, GAINED, 1 - 2 * GAINED - drop))
    return int(lost), int(won), samples


def true_drops(case: str, candidates: int) -> list[float]:
    if case == MIXED:
        return [0.02 if place < (candidates + 1) // 2 else 0.0 for place in range(candidates)]
    return list(np.linspace(*DROPS[case], candidates))


def figures(place: int, counts: tuple[int, int, int]) -> Figures:
    value, low, high = drop_of(*counts, CONFIDENCE)
    return Figures(
        f"c{place:02}", "pruned", "fp32", 1, 1.0 + place / 100, 1.0, value, 1, drop_low=low, drop_bound=high
    )


def verdict_of(chance: np.random.Generator, drops: list[float], samples: int, rule: str) -> int | None:
    """The place of the one that MEETS, by one rule; None for a miss. Validation and test have `samples` each."""
    bounded = rule == "confidence"
    limits = Limits(None, False, LIMIT, None, None, CONFIDENCE if bounded else None)
    chosen_from = [figures(place, answers(chance, drop, samples)) for place, drop in enumerate(drops)]
    refuted: list[str] = []
    for attempt in range(1 if rule == "before" else TRIES):
        winner = decide(chosen_from, limits, refuted).winner
        if winner is None:
            return None
        counts = answers(chance, drops[int(winner[1:])], samples)
        level = retry_confidence(BUDGET, TRIES - 1) if attempt else CONFIDENCE
        value, _, high = drop_of(*counts, level)
        if (high if attempt or bounded else value) <= LIMIT:
            return int(winner[1:])
        refuted.append(winner)
    return None


def claims(times: int) -> list[dict[str, object]]:
    """One row for each case, number of candidates and of samples; per cent of builds."""
    rows: list[dict[str, object]] = []
    for case in (*DROPS, MIXED):
        for candidates in (1, 5, 20):
            for samples in (359, 2000, 8000):
                drops, row = true_drops(case, candidates), {}
                for rule in ("before", "procedure", "confidence"):
                    chance = np.random.default_rng(1)
                    won = [verdict_of(chance, drops, samples, rule) for _ in range(times)]
                    false = [place is not None and drops[place] > LIMIT for place in won]
                    row[rule] = {"false MEETS": share(false)}
                    if min(drops) <= LIMIT:
                        row[rule]["false miss"] = share([place is None for place in won])
                rows.append({"case": case, "candidates": candidates, "samples": samples, **row})
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def share(values: list[bool]) -> float:
    return round(100 * float(np.mean(values)), 1)


def rounds(chance: np.random.Generator, candidates: int, median_ms: float) -> np.ndarray:
    """[candidates, 12, 60] runs whose rounds differ by 2 %, by 2 % within."""
    between = chance.normal(0.0, 0.02, (candidates, 12, 1))
    return median_ms * np.exp(between + chance.normal(0.0, 0.02, (candidates, 12, 60)))


def confirmations(times: int) -> list[dict[str, object]]:
    """How often a latency is said to be met, with all candidates equal: so far over (or under) the budget at p90."""
    p90 = float(np.exp(1.2816 * np.hypot(0.02, 0.02)))
    rows: list[dict[str, object]] = []
    for over in (0.01, 0.005, -0.05):
        for candidates in (1, 10, 20):
            chance, before, after = np.random.default_rng(2), [], []
            for _ in range(times):
                highs = [
                    percentiles(sample)[1].high for sample in rounds(chance, candidates, (1 + over) / p90)
                ]
                seemed = sum(high <= 1.0 for high in highs)
                fresh = rounds(chance, min(seemed, TRIES), (1 + over) / p90)
                before.append(seemed > 0)
                after.append(any(percentiles(sample)[1].high <= 1.0 for sample in fresh))
            rows.append(
                {"over": over, "candidates": candidates, "before": share(before), "confirmed": share(after)}
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


Law = Callable[[np.random.Generator, int], np.ndarray]
LAWS: dict[str, tuple[Law, float]] = {
    "normal": (lambda chance, n: np.abs(chance.normal(1.0, 0.3, n)), 1.0),
    "exponential": (lambda chance, n: chance.exponential(1.0, n), 1.0),
    "lognormal, sigma 1": (lambda chance, n: chance.lognormal(-0.5, 1.0, n), 1.0),
    "lognormal, sigma 2": (lambda chance, n: chance.lognormal(-2.0, 2.0, n), 1.0),
    "a fifth 50 times as bad": (lambda chance, n: unequal(chance, n, 0.2), 0.8 + 0.2 * 50),
    "a tenth 50 times as bad": (lambda chance, n: unequal(chance, n, 0.1), 0.9 + 0.1 * 50),
    "a twentieth 50 times as bad": (lambda chance, n: unequal(chance, n, 0.05), 0.95 + 0.05 * 50),
}


def unequal(chance: np.random.Generator, samples: int, bad: float) -> np.ndarray:
    return chance.exponential(1.0, samples) * np.where(chance.random(samples) < bad, 50.0, 1.0)


def unlabelled(times: int) -> list[dict[str, object]]:
    """How often the 95 % interval of a drop without labels holds the truth, by Student's t (before) and as it is."""
    rows: list[dict[str, object]] = []
    for name, (law, mean) in LAWS.items():
        for samples in (20, 50, 200):
            chance, before, after = np.random.default_rng(3), [], []
            for _ in range(times):
                drops = 1e-6 * law(chance, samples)
                student = estimate_drop(1.0 - drops, np.ones(samples))
                now = skewed_accuracy(1.0 - drops, "r2", "test", None).drop
                before.append(student.low <= 1e-6 * mean <= student.high)
                after.append(now.low <= 1e-6 * mean <= now.high)
            rows.append({"law": name, "samples": samples, "before": share(before), "now": share(after)})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    options = parser.parse_args()
    show(
        "claims",
        {
            "times": options.times,
            "claims": claims(options.times),
            "latency": confirmations(min(options.times, 300)),
            "unlabelled": unlabelled(options.times),
        },
    )


if __name__ == "__main__":
    main()
