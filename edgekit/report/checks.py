"""Each item of the budget against the best candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgekit.board.verdict import ORIGINAL
from edgekit.choose import outlook
from edgekit.choose.wording import mj, ms, points, size
from edgekit.report.verdict import best_candidate
from edgekit.report.wording import (
    amount_text,
    bytes_text,
    change_amount,
    change_name,
    interval_text,
    is_share,
    latency_at,
    limit_text,
    metric_text,
    ms_text,
    steady_words,
    value_interval_text,
    value_text,
)
from edgekit.result import AccuracyResult, CandidateResult, LatencyResult, Result
from edgekit.types import Budget, Energy, Origin

__all__ = ["WITHIN", "BudgetCheck", "checks", "checks_of"]

WITHIN = "within the limit"


@dataclass(frozen=True)
class BudgetCheck:
    """One item of the budget. `state` is empty where nothing was asked, `open` where it can't be told.

    `range` is an interval or a range in words, `said` the state in words, `remedy` the limit that a missed item would
    meet, as an option of the command.
    """

    name: str
    got: str
    range: str
    asked: str
    state: Literal["met", "missed", "open", ""] = ""
    said: str = ""
    remedy: str = ""


def checks(result: Result) -> tuple[BudgetCheck, ...]:
    """The best candidate's, with its accuracy on the test split where that was measured."""
    best = best_candidate(result)
    return () if best is None else checks_of(best, result.budget, result.claim, result.confirmed)


def checks_of(
    candidate: CandidateResult,
    budget: Budget,
    claim: AccuracyResult | None = None,
    confirmed: LatencyResult | None = None,
) -> tuple[BudgetCheck, ...]:
    """Latency, value, drop, size, and memory (if limited) of one candidate; `confirmed`: of a run on its own."""
    latency = confirmed or candidate.latency_ms
    again = "" if confirmed is None else ", timed once more"
    timed = (_latency_check(latency, budget, candidate.origin, again),) if latency else ()
    is_unchanged = (
        candidate.variant == ORIGINAL and candidate.precision == "fp32"
    )  # its drop is zero by definition
    confidence = None if is_unchanged else budget.confidence
    accuracy = _accuracy_checks(claim or candidate.accuracy, budget, confidence) if candidate.accuracy else ()
    told: tuple[BudgetCheck, ...] = (
        *timed,
        *accuracy,
        _bytes_check("size", candidate.size_bytes, budget.max_size_bytes),
    )
    if budget.max_memory_bytes is not None:
        told += (_bytes_check("peak memory", candidate.peak_memory_bytes, budget.max_memory_bytes),)
        told += _free_checks(candidate)
    return told + _energy_checks(candidate.energy, budget.max_energy_mj, candidate.origin)


def _latency_check(latency: LatencyResult, budget: Budget, origin: Origin, again: str) -> BudgetCheck:
    most = budget.max_latency_ms
    asked = f"budget {most:g} ms" if most is not None else "asked: the fastest" if budget.fastest else ""
    if origin == "estimated":
        return _estimate_check(latency, most, asked)
    name, got = f"latency {latency.percentile}", f"{ms_text(latency_at(latency))} ms"
    interval = f"95 %: {interval_text(latency)}{again}{steady_words(latency)}"
    if most is None:
        return BudgetCheck(name, got, interval, asked)
    if latency.high <= most:
        return BudgetCheck(name, got, interval, asked, "met", WITHIN)
    over = _over(latency.high, most)
    if outlook(latency.low, latency.high, most) == "open":
        over = f"can't tell: the limit lies within the interval, whose end is {over}"
    return BudgetCheck(
        name, got, interval, asked, "missed", over, f"--max-latency {_ms_option(latency.high)}"
    )


def _estimate_check(latency: LatencyResult, most: float | None, asked: str) -> BudgetCheck:
    """Neither met nor missed: nothing was measured."""
    name, got = "latency, estimated", f"{interval_text(latency)} ms"
    likely = f"likely {ms_text(latency_at(latency))} ms"
    if most is None:
        return BudgetCheck(name, got, likely, asked)
    said = {
        "within": "all of the range is within the limit; not measured",
        "beyond": "all of the range is over the limit; not measured",
        "open": "can't tell: the limit lies within the range",
    }
    return BudgetCheck(name, got, likely, asked, "open", said[outlook(latency.low, latency.high, most)])


def _accuracy_checks(
    told: AccuracyResult, budget: Budget, confidence: float | None
) -> tuple[BudgetCheck, BudgetCheck]:
    """`confidence`: that the drop's bound has at least; more where the candidate was not the first to be tested."""
    most, metric = budget.max_drop, told.metric
    value = BudgetCheck(
        f"{metric_text(metric)} ({told.split})", value_text(told), f"95 %: {value_interval_text(told)}", ""
    )
    got, ends = change_amount(told)
    name, interval = f"{change_name(told)} ({told.split})", f"95 %: {ends}"
    if most is None:
        return value, BudgetCheck(name, got, interval, "")
    asked = f"limit: {limit_text(most, metric, budget.confidence)}"
    if confidence is not None and told.drop_bound is not None:
        reaches = amount_text(told.drop_bound, metric)
        end = f"the high end of its interval, of {100 * confidence:.4g} % or more, is {reaches}"
        if told.drop_bound > most:
            option = _drop_option(told.drop_bound, metric)
            return value, BudgetCheck(name, got, interval, asked, "missed", end, option)
        return value, BudgetCheck(name, got, interval, asked, "met", f"{WITHIN}: {end}")
    if told.drop > most:
        over, option = (
            f"over the limit by {amount_text(told.drop - most, metric)}",
            _drop_option(told.drop, metric),
        )
        return value, BudgetCheck(name, got, interval, asked, "missed", over, option)
    said = WITHIN
    if told.drop_high > most:
        said += " by its value; the interval reaches beyond it: not established"
    return value, BudgetCheck(name, got, interval, asked, "met", said)


def _free_checks(candidate: CandidateResult) -> tuple[BudgetCheck, ...]:
    """Whether what the board had free holds the peak; nothing where it was not the board, or does not tell."""
    free, peak = candidate.available_bytes, candidate.peak_memory_bytes
    if not free or peak <= 0 or candidate.origin not in ("device", "emulated"):
        return ()
    got, asked = f"{bytes_text(peak)} of {bytes_text(free)}", "limit: what the board has free"
    if peak <= free:
        return (BudgetCheck("free memory", got, "", asked, "met", WITHIN),)
    return (
        BudgetCheck("free memory", got, "", asked, "missed", _over(peak, free), "free memory on the board"),
    )


def _energy_checks(energy: Energy | None, most: float | None, origin: Origin) -> tuple[BudgetCheck, ...]:
    """Of one inference. An estimate of another machine says nothing of it: open until it is measured."""
    asked = "" if most is None else f"budget {most:g} mJ"
    if energy is None or origin not in ("device", "emulated"):
        if most is None:
            return ()
        if origin == "estimated":
            return (
                BudgetCheck(
                    "energy", "not measured", "", asked, "open", "the board tells it when it settles"
                ),
            )
        return (
            BudgetCheck("energy", "not measured", "", asked, "missed", "not measured, so not met", "--meter"),
        )
    told = energy.per_inference_mj
    got = f"{ms_text(told.value)} mJ an inference"
    ends = f"95 %: {ms_text(told.low)} to {ms_text(told.high)}"
    interval = f"{ends}; beyond the idle board's {energy.idle_watts:.3g} W, by {energy.source}"
    if most is None:
        return (BudgetCheck("energy", got, interval, asked),)
    if told.high <= most:
        return (BudgetCheck("energy", got, interval, asked, "met", WITHIN),)
    option = f"--max-energy {mj(told.high, up=True).replace(' ', '')}"
    return (BudgetCheck("energy", got, interval, asked, "missed", _over(told.high, most), option),)


def _bytes_check(name: str, count: int, most: int | None) -> BudgetCheck:
    got = bytes_text(count) if count > 0 else "not measured"
    if most is None:
        return BudgetCheck(name, got, "", "")
    asked = f"limit {bytes_text(most)}"
    if 0 < count <= most:
        return BudgetCheck(name, got, "", asked, "met", WITHIN)
    if count <= 0:
        return BudgetCheck(name, got, "", asked, "missed", "not measured, so not met")
    option = {"size": "--max-size", "peak memory": "--max-memory"}[name]
    wanted = size(count, up=True).replace(" ", "").replace("bytes", "B")
    return BudgetCheck(name, got, "", asked, "missed", _over(count, most), f"{option} {wanted}")


def _over(got: float, most: float) -> str:
    """By how much: in percent, or as a multiple where that is plainer."""
    if got > 3 * most:
        return f"{got / most:,.1f} times the limit"
    share = 100 * (got / most - 1)
    return f"over the limit by {f'{share:.0f} %' if share >= 1 else 'less than 1 %'}"


def _ms_option(high: float) -> str:
    return ms(high, up=True).replace(" ", "")


def _drop_option(drop: float, metric: str) -> str:
    if not is_share(metric):
        return f"--max-drop {math.ceil(drop * 1e4) / 1e4:.4f}"
    return f"--max-drop {points(drop, up=True).split(' ')[0]}%"
