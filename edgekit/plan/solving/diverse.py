"""Several plans around a limit: predictions are checked on some before one is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgekit.plan.solving.problem import LayerUnit, PlanProblem
from edgekit.plan.solving.solver import Solution, solve

__all__ = ["Proposal", "proposals"]

SHARES = (1.0, 0.9, 1.1)
"""Of the latency limit: the table may be off by some per cent either way."""

FURTHER = (0.95, 1.05)
"""Shares that take the place of proposals which turned out to be the same plan."""

FEWEST, MOST = 3, 5


Solve = Callable[[PlanProblem], Solution]


@dataclass(frozen=True)
class Proposal:
    """A solution and what was asked of it. `share`: of the latency limit; `depth`, `mixed`: whether blocks could be
    dropped or merged, and whether units could differ in precision.
    """

    solution: Solution
    share: float = 1.0
    depth: bool = True
    mixed: bool = True


def proposals(problem: PlanProblem, solve: Solve = solve) -> tuple[Proposal, ...]:
    """Three to five plans that all differ, fewer where the problem has no more. The one for the limit comes first.

    `solve`: this one, or one that remembers.

    If nothing keeps within the limit, the first says so, with the fastest plan; others may still keep within theirs.
    """
    made = [Proposal(solve(problem))]
    if problem.blocks:
        made.append(Proposal(solve(undroppable(problem)), depth=False))
    if any(len(unit.costs) > 1 for unit in problem.units):
        made.append(Proposal(in_one_precision(problem, solve), mixed=False))
    made = distinct(made)
    shares = SHARES[1:] if problem.limits.latency_ms is not None else ()
    for share in (*shares, *(FURTHER if shares else ())):
        if len(made) < (MOST if share in SHARES else FEWEST):
            made = distinct([*made, Proposal(solve(scaled(problem, share)), share)])
    return tuple(made)


def scaled(problem: PlanProblem, share: float) -> PlanProblem:
    """The problem at a share of its latency limit."""
    limit_ms = problem.limits.latency_ms
    if limit_ms is None or share == 1.0:
        return problem
    return replace(problem, limits=replace(problem.limits, latency_ms=share * limit_ms))


def undroppable(problem: PlanProblem) -> PlanProblem:
    """The problem without blocks, with those units and transitions that there are while every block stays."""
    units = {
        unit.name: replace(unit, block=None, there=("kept",))
        for unit in problem.units
        if "kept" in unit.there
    }
    transitions = (
        item
        for item in problem.transitions
        if not item.across and item.before in units and item.after in units
    )
    return replace(problem, units=tuple(units.values()), blocks=(), transitions=tuple(transitions))


def in_one_precision(problem: PlanProblem, solve: Solve) -> Solution:
    """The best solution with one precision for all units that have it; the others are free to choose."""
    names = sorted({precision for unit in problem.units for precision in unit.costs})
    solutions = [solve(only(problem, precision)) for precision in names]
    kept = [solution for solution in solutions if solution.outcome == "FOUND"]
    if kept:
        return min(kept, key=lambda solution: solution.plan.harm)
    return min(solutions, key=lambda solution: solution.plan.latency_ms)


def only(problem: PlanProblem, precision: str) -> PlanProblem:
    """Units with nothing but this precision where they have it, and the transitions that are left between them."""
    units = {unit.name: in_precision(unit, precision) for unit in problem.units}
    transitions = (
        replace(
            item,
            latency_ms={
                pair: time_ms
                for pair, time_ms in item.latency_ms.items()
                if pair[0] in units[item.before].costs and pair[1] in units[item.after].costs
            },
        )
        for item in problem.transitions
    )
    return replace(problem, units=tuple(units.values()), transitions=tuple(transitions))


def in_precision(unit: LayerUnit, precision: str) -> LayerUnit:
    """The unit in this precision alone, or as it is where it does not have it."""
    return replace(unit, costs={precision: unit.costs[precision]}) if precision in unit.costs else unit


def distinct(made: Sequence[Proposal]) -> list[Proposal]:
    """The first of each plan; of what was not found, only the first proposal of all."""
    kept: dict[object, Proposal] = {}
    for index, proposal in enumerate(made):
        if index == 0 or proposal.solution.outcome == "FOUND":
            kept.setdefault(proposal.solution.plan.choices, proposal)
    return list(kept.values())
