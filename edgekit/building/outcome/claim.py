"""The claim: what the choice found is looked at again with samples and rounds that no choice has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from edgekit.building.values import Attempt, Outcome
from edgekit.choose import Entry, claim_sentence, judge, retry_confidence
from edgekit.types import Accuracy, Budget, Choice, Failure, Measurement

__all__ = ["Claim", "Looks", "settle_claim"]

TRIES = 4
"""Candidates that are looked at again; the unchanged network in float, whose drop is zero, comes on top."""


@dataclass(frozen=True)
class Looks:
    """How one looks again.

    `choose_without`: the choice among those that are not refuted. `time_alone`: a fresh run of one candidate.
    `test`: its accuracy on the test split, with the drop's bound at a confidence (None: the budget's own).
    """

    choose_without: Callable[[Mapping[str, str]], Choice]
    time_alone: Callable[[Attempt], Measurement | Failure]
    test: Callable[[Attempt, float | None], Accuracy]


@dataclass(frozen=True)
class Claim:
    """The choice as it stands, and what was seen of its winner (or else of the nearest) when it was looked at again.

    `established`: whether the drop's whole interval on the test split lies under the limit; None without a winner or a
    limit.
    """

    choice: Choice
    accuracy: Accuracy | None = None
    confirmed: Measurement | None = None
    established: bool | None = None


@dataclass
class _Seen:
    """What the looks gave so far, by candidate. `tested`: claims on the test split that may err."""

    refuted: dict[str, str] = field(default_factory=dict)
    accuracies: dict[str, Accuracy] = field(default_factory=dict)
    timed: dict[str, Measurement] = field(default_factory=dict)
    tested: int = 0


def settle_claim(outcome: Outcome, budget: Budget, looks: Looks) -> Claim:
    """Look again at the winner, and at the next by the rule of choice while one does not hold; see docs/claim.md.

    With a latency limit a candidate is timed once more, on its own. Then its drop is measured on the test split. The
    first is judged by what the budget asks for; for each further one the high end of the drop's interval must lie under
    the limit, at a confidence that divides what may go wrong among the retries. Raises StageError when a candidate does
    not run over the test split.
    """
    seen, choice = _Seen(), outcome.choice
    while (attempt := outcome.attempt(choice.winner)) is not None:
        name, entry = attempt.candidate.id, _entry(outcome, attempt)
        if len(seen.refuted) >= TRIES and not entry.is_unchanged:
            seen.refuted.update(_untried(outcome, budget, seen.refuted))
            choice = looks.choose_without(seen.refuted)
            continue
        against = _timed(entry, attempt, budget, looks, seen)
        demanded = budget
        if not against:
            demanded = _demanded(entry, budget, seen)
            against = _tested(entry, attempt, demanded, looks, seen)
        if not against:
            accuracy = seen.accuracies[name]
            held = replace(entry, measurement=replace(entry.measurement, accuracy=accuracy))
            established, sentence = claim_sentence(held, demanded)
            text = " ".join(part for part in (choice.explanation, sentence) if part)
            choice = replace(choice, explanation=text)
            return Claim(choice, accuracy, seen.timed.get(name), established)
        seen.refuted[name] = against
        choice = looks.choose_without(seen.refuted)
    nearest = choice.nearest or ""
    return Claim(choice, seen.accuracies.get(nearest), seen.timed.get(nearest))


def _entry(outcome: Outcome, attempt: Attempt) -> Entry:
    measurement = outcome.measurements[attempt.candidate.id]
    return Entry(attempt.candidate, measurement, attempt.artifact.size_bytes)


def _untried(outcome: Outcome, budget: Budget, refuted: Mapping[str, str]) -> dict[str, str]:
    """Those that would be looked at beyond the bound."""
    entries = [
        _entry(outcome, attempt)
        for attempt in outcome.attempts
        if attempt.candidate.id in outcome.measurements and attempt.candidate.id not in refuted
    ]
    reason = f"meets on validation; not tried, since {TRIES} before it did not hold"
    return {
        entry.id: reason
        for entry in entries
        if not entry.is_unchanged and all(finding.met for finding in judge(entry, budget))
    }


def _timed(entry: Entry, attempt: Attempt, budget: Budget, looks: Looks, seen: _Seen) -> str:
    """What a fresh run says against the candidate; nothing where no latency is limited."""
    if budget.max_latency_ms is None:
        return ""
    fresh = looks.time_alone(attempt)
    if isinstance(fresh, Failure):
        return f"failed when it was timed on its own: {fresh.cause}"
    seen.timed[entry.id] = fresh
    again = replace(
        entry,
        measurement=replace(fresh, accuracy=entry.measurement.accuracy, energy=entry.measurement.energy),
    )
    missed = [finding.text for finding in judge(again, budget) if not finding.met]
    return f"timed once more, on its own: {'; '.join(missed)}" if missed else ""


def _demanded(entry: Entry, budget: Budget, seen: _Seen) -> Budget:
    """The budget as the candidate's claim must hold it: a retry needs an interval."""
    if entry.is_unchanged or budget.max_drop is None:
        return budget
    seen.tested += 1
    return budget if seen.tested == 1 else replace(budget, confidence=retry_confidence(budget, TRIES - 1))


def _tested(entry: Entry, attempt: Attempt, demanded: Budget, looks: Looks, seen: _Seen) -> str:
    """What the test split says against the candidate."""
    accuracy = looks.test(attempt, demanded.confidence)
    seen.accuracies[entry.id] = accuracy
    again = replace(entry, measurement=replace(entry.measurement, accuracy=accuracy))
    missed = [
        finding.text for finding in judge(again, demanded) if not finding.met and finding.limit == "accuracy"
    ]
    return f"on the test split {'; '.join(missed)}" if missed else ""
