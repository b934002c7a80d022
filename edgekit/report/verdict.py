"""The verdict in plain words, and what it is about: the same for the page and the terminal."""

from __future__ import annotations

from edgekit.choose import outlook, speed
from edgekit.report.wording import latency_at, ms_text, ratio_text
from edgekit.result import CandidateResult, LatencyResult, Result
from edgekit.types import Estimate, Origin

__all__ = [
    "ORIGINS",
    "best_candidate",
    "best_word",
    "fastest_first",
    "gain_sentence",
    "headline",
    "metric_of",
    "origin_sentence",
    "ranked_origin",
    "reference",
]

ORIGINS: dict[Origin, str] = {
    "device": "measured on the board itself",
    "host": "measured on this machine, which is not the board",
    "emulated": "run in an emulator, whose latency says nothing about the board",
    "estimated": "estimated by a roofline, not measured",
}


def origin_sentence(origin: Origin) -> str:
    """How latencies of that origin came about, as a sentence without its full stop."""
    return f"Latencies were {ORIGINS[origin]}"


def best_candidate(result: Result) -> CandidateResult | None:
    """The winner, or the nearest where nothing won; None where neither was measured."""
    name = result.winner or result.nearest
    return next((candidate for candidate in result.candidates if candidate.id == name), None)


def best_word(result: Result) -> str:
    """What the best candidate is called beside its name."""
    if result.winner:
        return "winner"
    if result.verdict != "PROVISIONAL":
        return "nearest"
    best = best_candidate(result)
    return "first under emulation" if best is not None and best.origin == "emulated" else "first by estimate"


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
        return f"Nothing is settled before a run on {board}{_expectation(result)}"
    if result.verdict == "INFEASIBLE":
        return f"The budget cannot be met on {board}"
    return f"No candidate meets the budget on {board}" + (f"; nearest is {best.id}" if best else "")


def _expectation(result: Result) -> str:
    """What the ranges of the estimates allow to expect."""
    best, most = best_candidate(result), result.budget.max_latency_ms
    if best is None:
        return ""
    if best.origin != "estimated":
        return f": {best.id} comes first under emulation"
    ranges = [candidate.latency_ms for candidate in result.candidates if candidate.latency_ms]
    outlooks = {outlook(its.low, its.high, most) for its in ranges} if most is not None else set()
    if outlooks == {"beyond"}:
        return f": by the estimates no candidate meets {ms_text(most or 0.0)} ms"
    return f": {best.id} comes first by the estimates"


def gain_sentence(result: Result) -> str:
    """How the best candidate compares with the original float network; empty where either is missing."""
    best, base = best_candidate(result), reference(result)
    if best is None or base is None or best is base or not (best.latency_ms and base.latency_ms):
        return ""
    smaller = ratio_text(base.size_bytes, best.size_bytes, "smaller", "larger")
    if best.origin in ("estimated", "emulated"):
        told = f"{smaller} than the original float network; " if smaller else ""
        return _capital(f"{told}how their latencies compare, only the board can tell.")
    faster = speed(_interval(best.latency_ms), _interval(base.latency_ms))
    if not faster:
        told = f"; {smaller}" if smaller else ""
        return f"No difference in latency was seen from the original float network{told}."
    gains = " and ".join(part for part in (faster, smaller) if part)
    return _capital(f"{gains} than the original float network.")


def _interval(latency: LatencyResult) -> Estimate:
    return Estimate(latency_at(latency), latency.low, latency.high)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
