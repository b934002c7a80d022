"""The verdict in plain words, and the figures behind it: the same for the page and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgekit.report.wording import (
    bytes_text,
    clock_text,
    drop_interval_text,
    drop_text,
    interval_text,
    is_share,
    latency_at,
    limit_text,
    ms_text,
    ratio_text,
    temperature_text,
    value_interval_text,
    value_text,
)
from edgekit.result import AccuracyResult, CandidateResult, LatencyResult, Result
from edgekit.types import Budget, Origin

__all__ = [
    "ORIGINS",
    "BudgetCheck",
    "best_candidate",
    "checks",
    "claim_caution",
    "fastest_first",
    "gain_sentence",
    "headline",
    "metric_of",
    "ranked_origin",
    "reference",
    "unsettled_sentence",
]

ORIGINS: dict[Origin, str] = {
    "device": "measured on the board itself",
    "host": "measured on this machine, which is not the board",
    "emulated": "run in an emulator, whose latency says nothing about the board",
    "estimated": "estimated, not measured",
}


@dataclass(frozen=True)
class BudgetCheck:
    """One item of the budget. `state` is empty where nothing was asked; `excess`: how far it is missed."""

    name: str
    got: str
    interval: str
    asked: str
    state: Literal["met", "missed", ""]
    excess: str = ""


def best_candidate(result: Result) -> CandidateResult | None:
    """The winner, or the nearest where nothing won; None where neither was measured."""
    name = result.winner or result.nearest
    return next((candidate for candidate in result.candidates if candidate.id == name), None)


def ranked_origin(result: Result) -> Origin | None:
    """The origin of the winner or the nearest; where there is neither, the most trustworthy one present."""
    best = best_candidate(result)
    if best is not None:
        return best.origin
    present = {candidate.origin for candidate in result.candidates}
    return next((origin for origin in ORIGINS if origin in present), None)


def fastest_first(result: Result, origin: Origin | None) -> tuple[CandidateResult, ...]:
    """The candidates of one origin by latency; those without a latency last."""
    return tuple(
        sorted((candidate for candidate in result.candidates if candidate.origin == origin), key=_time)
    )


def _time(candidate: CandidateResult) -> float:
    return latency_at(candidate.latency_ms) if candidate.latency_ms else float("inf")


def reference(result: Result) -> CandidateResult | None:
    """The original network as float: of several the fastest, so that no gain is flattered."""
    originals = {variant.id for variant in result.variants if variant.kind == "original"}
    floats = [
        candidate
        for candidate in fastest_first(result, ranked_origin(result))
        if candidate.variant in originals and candidate.precision == "fp32" and candidate.latency_ms
    ]
    true_floats = [candidate for candidate in floats if candidate.ran_as in ("fp32", "")]
    return next(iter(true_floats or floats), None)


def metric_of(result: Result) -> str:
    """The metric's name; `accuracy` where none was measured."""
    measured = [result.claim, *(candidate.accuracy for candidate in result.candidates)]
    return next((accuracy.metric for accuracy in measured if accuracy), "accuracy")


def headline(result: Result) -> str:
    """One line that says how it ended."""
    board, best = result.target.title or result.target.name, best_candidate(result)
    if result.verdict == "MEETS" and best:
        standing = {True: " (established)", False: " (not established)", None: ""}[result.established]
        return f"{best.id} meets the budget on {board}{standing}"
    if result.verdict == "PROVISIONAL":
        lead = f": {best.id} is expected to do best" if best else ""
        return f"Nothing is settled before a run on {board}{lead}"
    if result.verdict == "INFEASIBLE":
        return f"The budget cannot be met on {board}"
    return f"No candidate meets the budget on {board}" + (f"; nearest is {best.id}" if best else "")


def gain_sentence(result: Result) -> str:
    """How the best candidate compares with the original float network; empty where either is missing."""
    best, base = best_candidate(result), reference(result)
    if best is None or base is None or best is base or not (best.latency_ms and base.latency_ms):
        return ""
    if best.origin == "estimated":
        return ""
    faster = ratio_text(latency_at(base.latency_ms), latency_at(best.latency_ms), "faster", "slower")
    smaller = ratio_text(base.size_bytes, best.size_bytes, "smaller", "larger")
    gains = " and ".join(part for part in (faster, smaller) if part)
    return f"{gains.capitalize()} than the original float network."


def checks(result: Result) -> tuple[BudgetCheck, ...]:
    """Each budget item against the best candidate: latency, value, drop, size, memory (if limited)."""
    best, budget = best_candidate(result), result.budget
    if best is None:
        return ()
    timed = result.confirmed or best.latency_ms
    latency = (_latency_check(timed, budget, best.origin),) if timed else ()
    accuracy = _accuracy_checks(result.claim or best.accuracy, budget) if best.accuracy else ()
    told = (*latency, *accuracy, _bytes_check("size", best.size_bytes, budget.max_size_bytes))
    if budget.max_memory_bytes is None:
        return told
    return (*told, _bytes_check("peak memory", best.peak_memory_bytes, budget.max_memory_bytes))


def _latency_check(latency: LatencyResult, budget: Budget, origin: Origin) -> BudgetCheck:
    most = budget.max_latency_ms
    asked = f"budget {most:g} ms" if most is not None else "asked: the fastest" if budget.fastest else ""
    if origin == "estimated":  # neither met nor missed: nothing was measured
        return BudgetCheck(
            "latency, estimated", f"{ms_text(latency_at(latency))} ms", interval_text(latency), asked, ""
        )
    return BudgetCheck(
        f"latency {latency.percentile}",
        f"{ms_text(latency_at(latency))} ms",
        f"{interval_text(latency)}",
        asked,
        *_state(latency.high, most),
    )


def _accuracy_checks(told: AccuracyResult, budget: Budget) -> tuple[BudgetCheck, BudgetCheck]:
    most, unit = budget.max_drop, " points" if is_share(told.metric) else ""
    interval = f"{value_interval_text(told)}"
    value = BudgetCheck(f"{told.metric} ({told.split})", value_text(told), interval, "", "")
    drop = BudgetCheck(
        f"drop ({told.split})",
        f"{drop_text(told)}{unit}",
        f"{drop_interval_text(told)}",
        f"limit {limit_text(most, told.metric)}" if most is not None else "",
        _state(told.drop, most)[0],
    )
    return value, drop


def _bytes_check(name: str, size: int, most: int | None) -> BudgetCheck:
    got = bytes_text(size) if size > 0 else "not measured"
    asked = f"limit {bytes_text(most)}" if most is not None else ""
    return BudgetCheck(name, got, "", asked, *_state(size if size > 0 else math.inf, most))


def _state(got: float, most: float | None) -> tuple[Literal["met", "missed", ""], str]:
    """The state, and by how much the limit is missed."""
    if most is None:
        return "", ""
    if got <= most:
        return "met", ""
    return "missed", f" by {100 * (got / most - 1):.0f} %" if most > 0 and math.isfinite(got) else ""


def claim_caution(result: Result) -> str:
    """A sentence for a winner that held the limit on validation but not on test; else empty."""
    best, claim, most = best_candidate(result), result.claim, result.budget.max_drop
    if best is None or best.accuracy is None or claim is None or most is None or claim.drop <= most:
        return ""
    chosen_on = best.accuracy
    return (
        f"On the {claim.split} split the drop is {drop_text(claim)}, over the limit of"
        f" {limit_text(most, claim.metric)}. The choice was made on the {chosen_on.split} split,"
        f" where it is {drop_text(chosen_on)}."
    )


def unsettled_sentence(result: Result) -> str:
    """A sentence for a best candidate whose latency did not settle, with what the machine did meanwhile; else empty."""
    best = best_candidate(result)
    if best is None or best.latency_ms is None or best.latency_ms.steady:
        return ""
    parts = [f"The latency of {best.id} did not settle"]
    preemptions = best.latency_ms.preemptions
    if preemptions is not None:
        parts.append(f"preemptions while it was timed: {preemptions}")
    parts.append(f"temperature: {temperature_text(result.environment)}")
    parts.append(f"clock: {clock_text(result.environment)}")
    return "; ".join(parts) + "."
