"""What a reader should know before trusting the figures."""

from __future__ import annotations

from edgekit.report.verdict import best_candidate, origin_sentence, ranked_origin
from edgekit.report.wording import amount_text, clock_text, drop_text, plural, temperature_text
from edgekit.result import Result

__all__ = ["cautions"]

NAMED = 3  # unsteady candidates by name


def cautions(result: Result) -> tuple[str, ...]:
    """A sentence each: a claim that did not hold, what did not settle, a busy machine, where it was measured."""
    origin = ranked_origin(result)
    elsewhere = f"{origin_sentence(origin)}." if origin not in (None, "device") else ""
    told = (
        _claim(result),
        f"{_capital(result.target.likeness)}." if result.target.likeness else "",
        elsewhere,
        _steadiness(result),
        _unsettled_best(result),
        _unsettled_others(result),
        *(note for note in result.environment.notes if note not in result.explanation),
    )
    return tuple(text for text in told if text)


def _claim(result: Result) -> str:
    """For a winner that held the limit on validation but not on test."""
    best, claim, most = best_candidate(result), result.claim, result.budget.max_drop
    if best is None or best.accuracy is None or claim is None or most is None or claim.drop <= most:
        return ""
    chosen_on = best.accuracy
    return (
        f"On the {claim.split} split the drop is {drop_text(claim)}, over the limit of"
        f" {amount_text(most, claim.metric)}. The choice was made on the {chosen_on.split} split,"
        f" where it is {drop_text(chosen_on)}."
    )


def _steadiness(result: Result) -> str:
    """Of the run that the verdict rests on, where its certificate is not clean."""
    best = best_candidate(result)
    latency = result.confirmed or (best.latency_ms if best else None)
    told = latency.steadiness if latency else None
    if best is None or told is None or told.state == "clean":
        return ""
    lead = f"{best.id} was throttled while it was timed" if told.state == "throttled" else (
        f"Whether {best.id} was timed on a steady board is not known"
    )  # fmt: skip
    return f"{lead}: {'; '.join(told.reasons)}." if told.reasons else f"{lead}."


def _unsettled_best(result: Result) -> str:
    """With what the machine did meanwhile."""
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


def _unsettled_others(result: Result) -> str:
    best = best_candidate(result)
    names = [
        candidate.id
        for candidate in result.candidates
        if candidate is not best and candidate.latency_ms and not candidate.latency_ms.steady
    ]
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"The latency of {plural(len(names), 'other candidate')} did not settle, so a comparison with them is weak:"
        f" {', '.join(names[:NAMED])}{more}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
