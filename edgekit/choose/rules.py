"""The choice itself: who meets the budget, who of them wins, and why each other one does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from edgekit.board import verdict
from edgekit.choose.comparing import against, comparison, tie_text
from edgekit.choose.entry import Entry, limits_of
from edgekit.choose.estimated import speed
from edgekit.choose.frontier import dominates, pareto_frontier
from edgekit.choose.limits import Finding, check_budget, judge, unestablished
from edgekit.types import Budget, Choice, Failure, Origin, Rejection, Verdict

__all__ = ["NONE_REFUTED", "choose"]

PLACES: dict[Origin, str] = {
    "device": "measured on the board",
    "host": "measured on the host",
    "emulated": "measured under emulation",
    "estimated": "estimated, not measured",
}
"""Also the order of trust: the first origin that any entry has is the one that is ranked."""

NONE_REFUTED: Mapping[str, str] = MappingProxyType({})


def choose(
    budget: Budget,
    entries: Sequence[Entry],
    original: str | None = None,
    *,
    origin: Origin | None = None,
    refuted: Mapping[str, str] = NONE_REFUTED,
    failures: Sequence[Failure] = (),
    rejections: Sequence[Rejection] = (),
) -> Choice:
    """The verdict on measured candidates.

    Meeting: the latency interval's high end at the percentile, the size and the peak memory lie at or
    under their limits, and the drop's value lies at or under `max_drop` (a drop whose interval reaches
    further meets with a reservation in words; with a confidence the interval's high end counts). A limit on
    something not measured is not met.

    Winning: the most accurate of those that meet and, of those that cannot be told from it in accuracy, the
    fastest, then the smaller, then by id. With `budget.fastest` the fastest, of those that cannot be told from it
    the most accurate; see `verdict.decide`. Without a limit on latency the same rule holds: the most accurate
    wins, mostly a float build; `fastest` trades accuracy within its limit for speed. A quantized build slower
    than a float build of its own variant is never chosen when that one meets too.

    MISSES: some candidate was measured in all that the budget limits; the nearest has the smallest sum of
    relative excesses ((value - limit) / limit for latency's high end, size and memory; (drop - limit) /
    max(|limit|, one percentage point) for accuracy). INFEASIBLE: there is no such candidate.

    Origins are never ranked together: only `origin` is (by default the most trusted that occurs: device,
    host, emulated, estimated). `original` is the id of the unchanged network's entry, with which the
    explanation compares; `refuted`, by id, what a later look said against candidates that met, in the order of
    looking: they do not win; `failures` and `rejections` serve the explanation of INFEASIBLE. Raises BudgetError
    for a limit that is not a positive finite number, ValueError for two entries of one id.
    """
    check_budget(budget)
    if len({entry.id for entry in entries}) < len(entries):
        raise ValueError("two entries have the same candidate id")
    ranked_origin = origin or _most_trusted(entries)
    figures = {
        entry.id: entry.figures(budget.percentile)
        for entry in entries
        if entry.measurement.origin == ranked_origin
    }
    decision = verdict.decide(list(figures.values()), limits_of(budget), tuple(refuted))
    ranked = sorted(
        (entry for entry in entries if entry.id in figures),
        key=lambda entry: verdict.rank(figures[entry.id], budget.fastest),
    )
    reasons = {entry.id: _elsewhere(entry, ranked_origin) for entry in entries if entry.id not in figures}
    frontier = pareto_frontier(ranked, budget.percentile)
    judged = {entry.id: judge(entry, budget) for entry in ranked}
    known = {entry.id: entry for entry in ranked}
    meeting = [figures[name] for name in decision.meeting]
    floats = {build.id: rival.id for build in meeting if (rival := verdict.faster_float(build, meeting))}
    winner = known[decision.winner] if decision.winner is not None else None
    for entry in ranked:
        float_build = known.get(floats.get(entry.id, ""))
        reasons[entry.id] = refuted.get(entry.id) or _reason(
            entry, judged[entry.id], winner, float_build, budget
        )
    told: Verdict = "INFEASIBLE"
    if winner is not None:
        leader = next(known[name] for name in decision.meeting if name not in refuted and name not in floats)
        tie = tie_text(winner, leader, budget)
        reasons[winner.id] = _with_reservation(f"chosen: {tie or _best(budget)}", winner, budget)
        text = _meets_text(winner, judged[winner.id], ranked, original, budget, tie, refuted)
        told = "MEETS"
    elif decision.nearest is not None:
        text = _misses_text(known[decision.nearest], judged[decision.nearest], refuted)
        told = "MISSES"
    else:
        text = _infeasible_text(ranked, reasons, failures, rejections, ranked_origin)
    reasons = {name: reasons[name] for name in sorted(reasons)}
    return Choice(told, decision.winner, decision.nearest, text, frontier, reasons)


def _most_trusted(entries: Sequence[Entry]) -> Origin:
    present = {entry.measurement.origin for entry in entries}
    return next((place for place in PLACES if place in present), "device")


def _elsewhere(entry: Entry, ranked: Origin) -> str:
    if ranked == "device":
        return f"{PLACES[entry.measurement.origin]}, not on the board"
    return f"{PLACES[entry.measurement.origin]}; only what was {PLACES[ranked]} is ranked here"


def _reason(
    entry: Entry,
    findings: Sequence[Finding],
    winner: Entry | None,
    float_build: Entry | None,
    budget: Budget,
) -> str:
    """One sentence on one candidate of the ranked origin. `float_build`: its own one, faster, that meets too."""
    missed = [finding.text for finding in findings if not finding.met]
    if missed or winner is None:
        return "; ".join(missed)
    if float_build is not None and _before(entry, winner, budget):
        slower = against(entry, float_build, budget)
        return f"slower than {float_build.id}, the float build of its own variant: {slower}"
    if dominates(winner, entry, budget.percentile):
        return f"dominated by {winner.id}: {comparison(entry, winner, budget)}"
    return comparison(entry, winner, budget)


def _before(entry: Entry, winner: Entry, budget: Budget) -> bool:
    """Whether its own figures would have put it before the winner."""
    mine, its = (
        verdict.rank(measured.figures(budget.percentile), budget.fastest) for measured in (entry, winner)
    )
    return mine < its


def _best(budget: Budget) -> str:
    return f"the {'fastest' if budget.fastest else 'most accurate'} of those that meet the budget"


def _with_reservation(text: str, entry: Entry, budget: Budget) -> str:
    reservation = unestablished(entry, budget)
    return f"{text} ({reservation})" if reservation else text


def _meets_text(
    winner: Entry,
    findings: Sequence[Finding],
    ranked: Sequence[Entry],
    original: str | None,
    budget: Budget,
    tie: str,
    refuted: Mapping[str, str],
) -> str:
    facts = [
        _with_reservation(finding.text, winner, budget) if finding.limit == "accuracy" else finding.text
        for finding in findings
    ]
    text = (
        f"{winner.id} meets the budget: {', '.join(facts)}"
        if facts
        else f"{winner.id} is chosen, no limit was set"
    )
    first = next((entry for entry in ranked if entry.id == original), None)
    mine = winner.latency(budget.percentile)
    its = first.latency(budget.percentile) if first else None
    if first is not None and first.id != winner.id and mine is not None and its is not None:
        told = speed(mine, its)
        text += f"; {told} than" if told else "; no difference in latency was seen from"
        text += f" the original ({first.id})"
    text += f"; {tie}" if tie else ""
    text += f"; tried before it: {_tried(refuted)}" if refuted else ""
    place = winner.measurement.origin
    return f"{text}." if place == "device" else f"{text}; {PLACES[place]}, not on the board."


def _tried(refuted: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in refuted.items())


def _misses_text(nearest: Entry, findings: Sequence[Finding], refuted: Mapping[str, str]) -> str:
    if refuted:
        return f"No candidate that met the budget at first holds it when looked at again: {_tried(refuted)}."
    missed = [finding for finding in findings if not finding.met]
    what = "; ".join(finding.text for finding in missed)
    needs = "; and ".join(finding.need for finding in missed)
    return f"No candidate meets the budget. The nearest is {nearest.id}, {what}. It would take: {needs}."


def _infeasible_text(
    ranked: Sequence[Entry],
    reasons: dict[str, str],
    failures: Sequence[Failure],
    rejections: Sequence[Rejection],
    origin: Origin,
) -> str:
    if ranked:
        return f"No candidate can be judged by this budget: {ranked[0].id}: {reasons[ranked[0].id]}."
    if reasons:
        return f"Nothing was {PLACES[origin].replace(', not measured', '')}: {next(iter(reasons.values()))}."
    if failures:
        count = "The only candidate" if len(failures) == 1 else f"All {len(failures)} candidates"
        first = failures[0]
        return f"{count} failed; {first.candidate} at {first.stage}: {first.cause}."
    if rejections:
        first_no = rejections[0]
        return f"The target runs no candidate of this network; {first_no.what}: {first_no.reason}."
    return "There is no candidate."
