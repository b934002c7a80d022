"""Rounds of plans: the best is trained wholly, what training left is measured, and plans are proposed again by that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from edgekit.building.values import Attempt
from edgekit.building.variants.aiming import Aim, Ended, TrainedPlan, next_aim
from edgekit.building.variants.base import Made, MadeVariant, MakerContext
from edgekit.building.variants.contest import Contender, contested, has_time_for, train_winner, with_untrained
from edgekit.building.variants.planning_result import planning_result
from edgekit.building.variants.proposing import Search, TimedPlan, at_limit, search
from edgekit.building.variants.way import Way, timed
from edgekit.errors import StageError, TimeLimitReached, UserError
from edgekit.plan import Structure, shortfall
from edgekit.plan.narrowing import MARGIN
from edgekit.planning import unchanged
from edgekit.types import Accuracy, Budget, Candidate, PlanningResult, Variant

__all__ = ["PlanRounds"]

MOST_AGAIN = 2
"""Plans that are trained a little in a further round: the first has shown which kind learns."""


class PlanRounds:
    """What is known of all plans, and what is done next. `looked`: the first search, with plans within the budget."""

    def __init__(self, context: MakerContext, way: Way, looked: Search) -> None:
        self._context, self._way, self._looked = context, way, looked
        self._contenders: dict[str, Contender] = {}
        self._scores: dict[str, tuple[float, ...]] = {}
        self._variants: dict[str, str] = {}
        self._known: list[TrainedPlan] = []
        self._whole = unchanged(way.basis.assembled.problem)

    def trained(self) -> Iterator[Made]:
        """Networks as they are trained, with all that is known of the plans after each.

        The build looks at each network before the next is made. Raises StageError and TimeLimitReached as trainings do,
        once what is known has been given.
        """
        candidates, most = self._looked.within, None
        while True:
            ended = ""
            try:
                yield from self._round(candidates, most)
                aim = self._next()
                ended = aim.why
                if isinstance(aim, Aim):
                    candidates, most = self._searched(aim), MOST_AGAIN
                    ended = f"{aim.why}; nothing else was found for that" if not candidates else ""
            except (StageError, TimeLimitReached) as error:
                yield self.told(str(error))
                raise
            except UserError as error:  # the input was good enough for the first round
                yield self.told(error.parts[0])
                raise StageError("plan", str(error)) from error
            if ended:
                yield self.told(ended)
                return

    def told(self, ended: str) -> PlanningResult:
        """All plans with what became of them."""
        way = self._way
        return planning_result(
            way.basis,
            way.table,
            way.lead,
            way.budget,
            self._context.measurements[way.lead.id],
            self._looked,
            tuple(self._contenders.values()),
            self._scores,
            self._variants,
            {plan.name: plan for plan in self._known},
            ended,
        )

    def _round(self, candidates: tuple[TimedPlan, ...], most: int | None) -> Iterator[Made]:
        """The best of some plans, trained wholly, and what its builds told."""
        context = self._context
        contenders = with_untrained(context, self._way.basis, candidates)
        self._contenders.update({contender.plan.id: contender for contender in contenders})
        standing = contested(context, contenders, most)
        self._scores.update({name: scores for name, scores in standing.contest.scores.items() if scores})
        plan = next(other for other in candidates if other.id == standing.contest.winner)
        variant = None
        for made in train_winner(context, plan, standing, self._name_of(plan)):
            if isinstance(made, MadeVariant):
                variant = made.variant
                self._variants[plan.id] = variant.id
            yield made
        assert variant is not None
        attempts = context.became(variant.id)
        structures = [] if self._way.is_absent else self._times(variant, attempts)
        seen = judged(plan, attempts, structures, self._way, self._whole.harm)
        if seen is not None:
            self._known.append(seen)

    def _name_of(self, plan: TimedPlan) -> str:
        """What its network is called: two plans may leave the same share of MACs."""
        name, taken = f"planned-{round(100 * plan.pruning.fraction)}", set(self._variants.values())
        return next(
            candidate
            for number in range(1, len(taken) + 2)
            if (candidate := name if number == 1 else f"{name}-{number}") not in taken
        )

    def _times(self, variant: Variant, attempts: tuple[Attempt, ...]) -> list[Structure]:
        """What the builds take that may count: those that keep the accuracy, and those like the leading one.

        Of each runtime and precision the most accurate: recipes differ in what they lose.
        """
        context, way = self._context, self._way
        asked: dict[object, Candidate] = {}
        for attempt in sorted(attempts, key=lambda attempt: counted(attempt.accuracy, way.budget)):
            build = attempt.candidate
            if counted(attempt.accuracy, way.budget) <= limit_of(way.budget) or is_like(attempt, way):
                asked.setdefault((build.backend, build.precision, build.device), build)
        return context.probe([variant], context.original, list(asked.values())) if asked else []

    def _next(self) -> Aim | Ended:
        """What follows from what is known."""
        way, context = self._way, self._context
        if not self._known or len(self._known) < len(self._variants):
            return Ended("the trained network could not be judged")
        assert way.budget.max_latency_ms is not None
        lead = next(attempt for attempt in context.attempts if attempt.candidate.id == way.lead.id)
        aim = next_aim(
            self._known,
            way.budget.max_latency_ms,
            limit_of(way.budget),
            counted(lead.accuracy, way.budget),
            self._whole.latency_ms * self._looked.ratio,
            self._least_harm,
        )
        last = next(plan for plan in self._looked.plans if plan.id == self._known[-1].name)
        if isinstance(aim, Aim) and not has_time_for(context, last, self._known, aim):
            return Ended(f"{aim.why}, for which no time was left")
        return aim

    def _least_harm(self, latency_ms: float) -> float | None:
        """Predicted of the mildest plan within a latency, beyond that of the network as it is."""
        limit_ms = latency_ms * (1 - MARGIN) / self._looked.ratio
        basis = self._way.basis
        solution = basis.solve(at_limit(basis.assembled.problem, limit_ms))
        return solution.plan.harm - self._whole.harm if solution.outcome == "FOUND" else None

    def _searched(self, aim: Aim) -> tuple[TimedPlan, ...]:
        """Plans for the aim that were not trained; those that were looked at before count too."""
        way, context = self._way, self._context
        self._looked = search(
            way.basis,
            replace(way.budget, max_latency_ms=aim.latency_ms),
            self._looked.ratio,
            lambda plans: timed(context, way, plans),
            self._looked,
        )
        return tuple(
            plan
            for plan in self._looked.within
            if plan.id not in self._variants and plan.allocation.harm - self._whole.harm < aim.below_harm
        )


def limit_of(budget: Budget) -> float:
    """The largest drop that is allowed."""
    return math.inf if budget.max_drop is None else budget.max_drop


def counted(accuracy: Accuracy, budget: Budget) -> float:
    """The drop that the budget holds against its limit."""
    if budget.confidence is not None and accuracy.drop_bound is not None:
        return accuracy.drop_bound
    return accuracy.drop.value


def is_like(attempt: Attempt, way: Way) -> bool:
    """Whether it is a build of the runtime and precision that lead."""
    ours, lead = attempt.candidate, way.lead
    return (ours.backend, ours.precision, ours.device) == (lead.backend, lead.precision, lead.device)


def judged(
    plan: TimedPlan, attempts: tuple[Attempt, ...], times: list[Structure], way: Way, whole_harm: float
) -> TrainedPlan | None:
    """The plan by its most accurate build that meets the budget; else by the best of those like the leading one.

    `times`: of its builds, by candidate; none of a board that is not here, where the structure's stands for those like
    the leading one. None where nothing was measured.
    """
    budget, structure, limit = way.budget, plan.structure, limit_of(way.budget)
    assert structure is not None
    assert budget.max_latency_ms is not None
    # What was measured after training needs no room for what training may change.
    unmargined = replace(budget, max_latency_ms=budget.max_latency_ms / (1 - MARGIN))
    by_build = {time.like: time for time in times}
    seen = []
    for attempt in attempts:
        same = is_like(attempt, way)
        taken = by_build.get(attempt.candidate.id) or (structure if way.is_absent and same else None)
        if taken is not None:
            drop = counted(attempt.accuracy, budget)
            is_within = not shortfall(taken, budget if way.is_absent else unmargined)
            meets = is_within and drop <= limit
            seen.append((not meets, not same and not meets, not is_within, drop, taken.latency_ms))
    if not seen:
        return None
    _, _, is_beyond, drop, latency_ms = min(seen)
    harm = max(0.0, plan.allocation.harm - whole_harm)
    return TrainedPlan(plan.id, harm, structure.latency_ms, drop, latency_ms, not is_beyond)
