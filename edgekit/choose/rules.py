"""The choice itself: who meets the budget, who of them wins, and why each other one does not."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.board import verdict
from edgekit.choose.entry import Entry, limits_of
from edgekit.choose.estimated import speed
from edgekit.choose.frontier import dominates, pareto_frontier
from edgekit.choose.limits import Finding, check_budget, judge, unestablished
from edgekit.choose.wording import ms_interval, points, size
from edgekit.types import Budget, Choice, Failure, Origin, Rejection

__all__ = ["choose"]

PLACES: dict[Origin, str] = {
    "device": "measured on the board",
    "host": "measured on the host",
    "emulated": "measured under emulation",
    "estimated": "estimated, not measured",
}
"""Also the order of trust: the first origin that any entry has is the one that is ranked."""


def choose(
    budget: Budget,
    entries: Sequence[Entry],
    original: str | None = None,
    *,
    origin: Origin | None = None,
    failures: Sequence[Failure] = (),
    rejections: Sequence[Rejection] = (),
) -> Choice:
    """The verdict on measured candidates.

    Meeting: the latency interval's high end at the percentile, the size and the peak memory lie at or
    under their limits, and the drop's value lies at or under `max_drop` (a drop whose interval reaches
    further meets with a reservation in words). A limit on something not measured is not met.

    Winning: the most accurate of those that meet; equals go to the faster, then the smaller, then by id.
    With `budget.fastest` the fastest, equals to the more accurate. Without a limit on latency the same rule
    holds: the most accurate wins, mostly a float build; `fastest` trades accuracy within its limit for speed.
    A quantized build slower than a float build of its own variant is never chosen when that one meets too.

    MISSES: some candidate was measured in all that the budget limits; the nearest has the smallest sum of
    relative excesses ((value - limit) / limit for latency's high end, size and memory; (drop - limit) /
    max(|limit|, one percentage point) for accuracy). INFEASIBLE: there is no such candidate.

    Origins are never ranked together: only `origin` is (by default the most trusted that occurs: device,
    host, emulated, estimated). `original` is the id of the unchanged network's entry, with which the
    explanation compares; `failures` and `rejections` serve the explanation of INFEASIBLE. Raises BudgetError
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
    decision = verdict.decide(list(figures.values()), limits_of(budget))
    ranked = sorted(
        (entry for entry in entries if entry.id in figures),
        key=lambda entry: verdict.rank(figures[entry.id], budget.fastest),
    )
    reasons = {entry.id: _elsewhere(entry, ranked_origin) for entry in entries if entry.id not in figures}
    frontier = pareto_frontier(ranked, budget.percentile)
    judged = {entry.id: judge(entry, budget) for entry in ranked}
    known = {entry.id: entry for entry in ranked}
    meeting = [figures[name] for name in decision.meeting]
    winner = known[decision.winner] if decision.winner is not None else None
    for entry in ranked:
        rival = verdict.faster_float(figures[entry.id], meeting)
        float_build = known[rival.id] if rival is not None else None
        reasons[entry.id] = _reason(entry, judged[entry.id], winner, float_build, budget)
    reasons = {name: reasons[name] for name in sorted(reasons)}
    if winner is not None:
        text = _meets_text(winner, judged[winner.id], ranked, original, budget)
        return Choice("MEETS", winner.id, None, text, frontier, reasons)
    if decision.nearest is not None:
        text = _misses_text(known[decision.nearest], judged[decision.nearest])
        return Choice("MISSES", None, decision.nearest, text, frontier, reasons)
    text = _infeasible_text(ranked, reasons, failures, rejections, ranked_origin)
    return Choice("INFEASIBLE", None, None, text, frontier, reasons)


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
    if entry.id == winner.id:
        what = "fastest" if budget.fastest else "most accurate"
        return _with_reservation(f"chosen: the {what} of those that meet the budget", entry, budget)
    if float_build is not None and _before(entry, winner, budget):
        slower = _against(entry, float_build, budget)
        return f"slower than {float_build.id}, the float build of its own variant: {slower}"
    if dominates(winner, entry, budget.percentile):
        return f"dominated by {winner.id}: {_comparison(entry, winner, budget)}"
    return _comparison(entry, winner, budget)


def _before(entry: Entry, winner: Entry, budget: Budget) -> bool:
    """Whether its own figures would have put it before the winner."""
    mine, its = (
        verdict.rank(measured.figures(budget.percentile), budget.fastest) for measured in (entry, winner)
    )
    return mine < its


def _comparison(entry: Entry, winner: Entry, budget: Budget) -> str:
    """In what a candidate that meets the budget is behind the winner, the deciding quantity first."""
    parts = []
    if entry.drop is None and winner.drop is not None:
        parts.append("its accuracy was not measured")
    elif entry.drop is not None and winner.drop is not None and entry.drop.value > winner.drop.value:
        parts.append(
            f"less accurate than the winner by {points(entry.drop.value - winner.drop.value, apart_from=0)}"
        )
    mine, its = entry.latency(budget.percentile), winner.latency(budget.percentile)
    if its is not None and (mine is None or mine.value > its.value):
        parts.append(f"slower than the winner: {_against(entry, winner, budget)}")
    if budget.fastest:
        parts.reverse()
    if not parts and entry.size_bytes > winner.size_bytes:
        larger = size(entry.size_bytes, apart_from=winner.size_bytes)
        smaller = size(winner.size_bytes, apart_from=entry.size_bytes)
        parts.append(f"as accurate and as fast as the winner, but larger: {larger} against {smaller}")
    return (
        ", and ".join(parts) or "equal to the winner in all that counts; the winner comes first by its name"
    )


def _against(entry: Entry, other: Entry, budget: Budget) -> str:
    mine, its = entry.latency(budget.percentile), other.latency(budget.percentile)
    if mine is None or its is None:
        return "latency not measured"
    return f"{budget.percentile} {ms_interval(mine)} against {ms_interval(its)}"


def _with_reservation(text: str, entry: Entry, budget: Budget) -> str:
    reservation = unestablished(entry, budget)
    return f"{text} ({reservation})" if reservation else text


def _meets_text(
    winner: Entry, findings: Sequence[Finding], ranked: Sequence[Entry], original: str | None, budget: Budget
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
    place = winner.measurement.origin
    return f"{text}." if place == "device" else f"{text}; {PLACES[place]}, not on the board."


def _misses_text(nearest: Entry, findings: Sequence[Finding]) -> str:
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
