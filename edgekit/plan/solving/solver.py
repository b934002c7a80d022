"""From a problem to the plan of least harm within its limits, with a bound that tells how far it may be from the best.

A layer's time hangs on the widths of two groups. All limits are priced (Lagrangian relaxation), and at given prices the
best plan of all pairs of widths, blocks and precisions is found exactly by eliminating variables (dynamic programming
over the tree of groups, `elimination`). That gives a lower bound, and for every single choice what it would cost at
least; choices that cost more than a plan that was found are ruled out. What remains is an integer program, linearised
over pairs, for HiGHS (`reduced`). Small problems, and most large ones, end proved; else the bound is the relaxation's.
On residual networks of 100 groups x 32 widths x 3 precisions the plan was 0.07 % above the bound in the median, and
2.6 % at worst (`benchmarks/solver.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edgekit.plan.solving.allocation import Allocation, allocated
from edgekit.plan.solving.elimination import Elimination
from edgekit.plan.solving.factors import SLACK, FactorGraph, States, factored
from edgekit.plan.solving.improving import improved, rank
from edgekit.plan.solving.problem import PlanLimits, PlanProblem
from edgekit.plan.solving.reduced import joint_states, solve_reduced
from edgekit.plan.solving.relaxation import Relaxed, fastest, relaxed

if TYPE_CHECKING:
    from edgekit.plan.solving.elimination import CostArrays
    from edgekit.plan.solving.reduced import KeptStates

__all__ = ["Solution", "Solvability", "fastest_plan", "solve"]

Solvability = Literal["FOUND", "INFEASIBLE", "NOT_FOUND"]
"""INFEASIBLE is proved. With one limit there is no other; with several it may stay open whether a plan exists."""

PROGRAMS = ((800, 100, 0.0), (2500, 30, 1e-4))
"""Integer programs, one after the other: joint states, nodes of branch and bound, and the relative gap to end at.

The first is small and finds a plan so good that few states are left open for the second. HiGHS takes a few seconds for
either on one core.
"""

LAST_PROGRAM = (6000, 60, 5e-3)
"""A third one where a gap is left, for problems of up to FEW variables: those of larger ones would take long."""

FEW = 150

TRIED = 4
"""Plans of the relaxation that are improved one choice at a time: the last ones are the nearest to the limits."""


@dataclass(frozen=True)
class Solution:
    """`plan`: the one that was found; else the fastest that there is, which then breaks a limit.

    `bound`: no plan within the limits has less harm; infinite where there is none.
    """

    outcome: Solvability
    plan: Allocation
    bound: float

    @property
    def gap(self) -> float:
        """How much harm a better plan might save at most; 0 where the plan is proved best, NaN where there is none."""
        return max(0.0, self.plan.harm - self.bound) if self.outcome == "FOUND" else math.nan

    @property
    def relative_gap(self) -> float:
        """The gap as a share of the plan's harm."""
        return self.gap / max(abs(self.plan.harm), 1e-12)


def solve(problem: PlanProblem) -> Solution:
    """The plan of least harm within the problem's limits. Deterministic: no clock ends it, ties go one way."""
    graph = factored(problem)
    elimination = Elimination(graph)
    relaxation = relaxed(elimination)
    if relaxation.bound == math.inf:
        return Solution("INFEASIBLE", fastest_plan(problem), math.inf)
    states, bound = _closed(elimination, relaxation, _best_seen(graph, relaxation))
    if states is None:
        proved = bound == math.inf
        return Solution("INFEASIBLE" if proved else "NOT_FOUND", fastest_plan(problem), bound)
    plan = allocated(problem, graph, states)
    return Solution("FOUND", plan, min(bound, plan.harm))


def fastest_plan(problem: PlanProblem) -> Allocation:
    """The plan of least latency that holds the memory limit, or of all where none holds it. No other limit counts."""
    limits = PlanLimits(latency_ms=problem.limits.latency_ms or 1.0, memory_bytes=problem.limits.memory_bytes)
    for tried in (limits, replace(limits, memory_bytes=None)):
        graph = factored(replace(problem, limits=tried))
        states = fastest(Elimination(graph))
        if not graph.totals(states)[2]:
            break
    return allocated(problem, graph, states)


def _best_seen(graph: FactorGraph, relaxation: Relaxed) -> States | None:
    """The best plan within the limits that is near to those of the relaxation."""
    near = dict.fromkeys(improved(graph, states) for states in relaxation.seen[-TRIED:])
    best = min(near, key=lambda states: rank(graph, states))
    return best if graph.keeps(best) else None


def _closed(
    elimination: Elimination, relaxation: Relaxed, best: States | None
) -> tuple[States | None, float]:
    """A better plan and a higher bound, by integer programs over the choices that may still be part of one."""
    import numpy as np

    graph, bound = elimination.graph, relaxation.bound
    swept = elimination.sweep(1.0, relaxation.multipliers)
    anyway = float(relaxation.multipliers @ np.array(graph.base))
    least = [values + anyway for values in elimination.least(swept)]
    programs = (*PROGRAMS, LAST_PROGRAM) if len(graph.variables) <= FEW else PROGRAMS
    for room, nodes, close in programs:
        most = math.inf if best is None else rank(graph, best)[1]
        if most - bound <= max(close, SLACK) * max(1e-12, abs(most)):
            break
        kept, is_whole = _open_states(graph, least, most, room)
        reduced = solve_reduced(graph, kept, nodes, close=close)
        states = reduced.states
        if states is not None and not graph.keeps(states):
            states = solve_reduced(graph, kept, nodes, close=close, tighter=3e-6).states
        if states is not None:
            near = improved(graph, states)
            if graph.keeps(near) and (best is None or rank(graph, near) < rank(graph, best)):
                best = near
        if is_whole:
            bound = max(bound, min(reduced.bound, math.inf if best is None else rank(graph, best)[1]))
            break
    return best, bound


def _open_states(graph: FactorGraph, least: CostArrays, most: float, joint: int) -> tuple[KeptStates, bool]:
    """Per variable, the states that may cost less than `most`, and whether these are all: else they are the most
    promising ones, which make no more than `joint` joint states. Those of the relaxation's best plans are among them.
    """
    import numpy as np

    room = most + SLACK * max(1e-12, abs(most)) if math.isfinite(most) else np.finfo(float).max

    def below(value: float) -> KeptStates:
        return [np.flatnonzero(values <= max(value, float(values.min()))) for values in least]

    if joint_states(graph, below(room)) <= joint:
        return below(room), True
    steps = np.unique(np.concatenate(least))
    steps = steps[steps <= room]
    low, high = 0, len(steps) - 1  # the program at `high` is too large
    while high - low > 1:
        middle = (low + high) // 2
        fits = joint_states(graph, below(float(steps[middle]))) <= joint
        low, high = (middle, high) if fits else (low, middle)
    return below(float(steps[low])), False
