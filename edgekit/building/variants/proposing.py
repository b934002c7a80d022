"""Plans around a budget: proposed by a table of times, timed untrained on the board, and proposed again by that."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.building.variants.basis import PlanBasis
from edgekit.compress import PrunePlan
from edgekit.errors import StageError
from edgekit.plan import Structure, shortfall
from edgekit.plan.narrowing import MARGIN
from edgekit.plan.solving import Allocation, PlanProblem, proposals
from edgekit.planning import unchanged
from edgekit.types import Budget

__all__ = ["Search", "TimePlans", "TimedPlan", "at_limit", "search"]

ROUNDS = 3
CLOSE = 0.93
"""Of the latency limit: a plan that takes as much leaves too little for another round to win."""

NARROWER = 0.95
"""Of the network's own time: what is asked for where the table says that the network as it is would do."""

STEADY = 0.05
"""How far the correction may move, as a share of it, for the plans to count as proposed with the right one."""


@dataclass(frozen=True)
class TimedPlan:
    """A plan of the solver's with what goes from the network.

    `predicted_ms`: by the table; `structure`: what it took untrained, None where no runtime told.
    """

    id: str
    allocation: Allocation
    pruning: PrunePlan
    predicted_ms: float
    structure: Structure | None


@dataclass(frozen=True)
class Search:
    """All plans that were looked at, those within the budget by the harm that is predicted, and sentences.

    `ratio`: measured by predicted time, as the last round had it.
    """

    plans: tuple[TimedPlan, ...]
    within: tuple[TimedPlan, ...]
    ratio: float
    notes: tuple[str, ...]


TimePlans = Callable[[Sequence[TimedPlan]], Mapping[str, Structure]]
"""Plans without times → by their ids what they take untrained; without those that no runtime told of."""


NOTHING_BEFORE = Search((), (), 1.0, ())


def search(
    basis: PlanBasis, budget: Budget, ratio: float, time_plans: TimePlans, before: Search = NOTHING_BEFORE
) -> Search:
    """Propose, time, correct by the median of measured over predicted, and propose again.

    `ratio`: that of the network as it is, to begin with. `before`: what was looked at for another budget, and counts
    for this one too. It ends with a plan that all but fills the budget and was
    proposed with the ratio that was then seen, when nothing new is proposed, or after three rounds. Raises UserError
    and StageError as the solver and the board do.
    """
    assert budget.max_latency_ms is not None
    plans, notes = list(before.plans), list(before.notes)
    seen = {plan.pruning.to_json() for plan in plans}
    whole_ms = unchanged(basis.assembled.problem).latency_ms
    for _ in range(ROUNDS):
        limit_ms = budget.max_latency_ms * (1 - MARGIN) / ratio
        problem = at_limit(basis.assembled.problem, limit_ms)
        if (
            basis.solve(problem).plan.choices == unchanged(problem).choices
        ):  # which is known to break the budget
            ratio *= limit_ms / (NARROWER * whole_ms)
            problem = at_limit(problem, NARROWER * whole_ms)
        new: list[TimedPlan] = []
        for proposal in proposals(problem, basis.solve):
            allocation = proposal.solution.plan
            try:
                pruning = basis.pruning(allocation)
            except StageError as error:
                notes.append(f"a plan could not be made: {error.cause}")
                continue
            if not pruning.changes or pruning.to_json() in seen:
                continue
            seen.add(pruning.to_json())
            name = f"plan-{len(plans) + len(new) + 1}"
            new.append(TimedPlan(name, allocation, pruning, allocation.latency_ms, None))
        if not new:
            break
        structures = time_plans(new)
        new = [replace(plan, structure=structures.get(plan.id)) for plan in new]
        plans += new
        asked, ratio = ratio, corrected(ratio, new)
        if abs(ratio / asked - 1) <= STEADY and any(fills(plan, budget) for plan in plans):
            break
    within = [plan for plan in plans if plan.structure and not shortfall(plan.structure, budget)]
    within.sort(key=lambda plan: (plan.allocation.harm, plan.id))
    return Search(tuple(plans), tuple(within), ratio, tuple(dict.fromkeys(notes)))


def at_limit(problem: PlanProblem, latency_ms: float) -> PlanProblem:
    """The problem with that limit on latency."""
    return replace(problem, limits=replace(problem.limits, latency_ms=latency_ms))


def corrected(ratio: float, plans: Sequence[TimedPlan]) -> float:
    """The median of measured over predicted time; as it was where nothing was measured."""
    seen = [plan.structure.latency_ms / plan.predicted_ms for plan in plans if plan.structure]
    return statistics.median(seen) if seen else ratio


def fills(plan: TimedPlan, budget: Budget) -> bool:
    """Whether the plan keeps within the budget and leaves little of its time."""
    if plan.structure is None or shortfall(plan.structure, budget):
        return False
    assert budget.max_latency_ms is not None
    return plan.structure.latency_ms >= CLOSE * (1 - MARGIN) * budget.max_latency_ms
