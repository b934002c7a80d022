"""A plan as it leaves the solver: what was chosen, in the problem's own names, and what it is predicted to take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgekit.errors import UserError
from edgekit.plan.solving.factors import DROPPED, FactorGraph, States
from edgekit.plan.solving.problem import LayerUnit, PlanProblem, PrecisionCost, WidthTable

__all__ = ["Allocation", "allocated", "predicted"]


@dataclass(frozen=True)
class Allocation:
    """One plan. `widths` of the groups that stay, `precisions` of the units that stay, `dropped` blocks, by name.

    `memory_bytes`: of the unit that needs most. All figures are sums of the problem's tables.
    """

    widths: Mapping[str, int]
    dropped: tuple[str, ...]
    precisions: Mapping[str, str]
    harm: float
    latency_ms: float
    size_bytes: float
    memory_bytes: float
    energy_mj: float

    @property
    def choices(self) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
        """What was chosen, without what it takes: equal for equal plans."""
        return tuple(self.widths.items()), self.dropped, tuple(self.precisions.items())


def predicted(
    problem: PlanProblem, widths: Mapping[str, int], dropped: Collection[str], precisions: Mapping[str, str]
) -> Allocation:
    """What any plan would take. Choices of groups and units that vanish with a dropped block are left out.

    Raises UserError where a choice is missing, or is none that the problem has.
    """
    for name in dropped:
        if name not in problem.block:
            raise UserError(f"no block is called {name}", allowed=", ".join(problem.block) or "none")
    groups = [group for group in problem.groups if problem.block_of.get(group.name) not in dropped]
    units = [unit for unit in problem.units if unit.block not in dropped]
    harm = sum(block.harm for block in problem.blocks if block.name in dropped)
    at: dict[str, int] = {}
    for group in groups:
        width = widths.get(group.name)
        if width not in group.widths:
            raise UserError(
                f"group {group.name} at {width} channels", allowed=", ".join(map(str, group.widths))
            )
        at[group.name] = group.widths.index(width)
        harm += group.harm[at[group.name]]
    chosen = [(unit, _cost(unit, precisions.get(unit.name))) for unit in units]

    def taken(unit: LayerUnit, table: WidthTable | None) -> float:
        place = 0
        for name in unit.groups:
            place = place * len(problem.group[name].widths) + at[name]
        return 0.0 if table is None else table[place]

    return Allocation(
        widths={group.name: widths[group.name] for group in groups},
        dropped=tuple(block.name for block in problem.blocks if block.name in dropped),
        precisions={unit.name: precisions[unit.name] for unit in units},
        harm=harm + sum(cost.harm for _, cost in chosen),
        latency_ms=problem.fixed_ms
        + sum(taken(unit, cost.latency_ms) for unit, cost in chosen)
        + _transitions_ms(problem, dropped, precisions),
        size_bytes=problem.fixed_bytes + sum(taken(unit, cost.size_bytes) for unit, cost in chosen),
        memory_bytes=max((taken(unit, cost.memory_bytes) for unit, cost in chosen), default=0.0),
        energy_mj=sum(taken(unit, cost.energy_mj) for unit, cost in chosen),
    )


def allocated(problem: PlanProblem, graph: FactorGraph, states: States) -> Allocation:
    """States of the problem's graph, in names."""
    widths: dict[str, int] = {}
    precisions: dict[str, str] = {}
    dropped = []
    for variable, state in zip(graph.variables, states, strict=True):
        if variable.kind == "group":
            widths[variable.name] = problem.group[variable.name].widths[state]
        elif variable.kind == "unit":
            precisions[variable.name] = sorted(problem.unit[variable.name].costs)[state]
        elif state == DROPPED:
            dropped.append(variable.name)
    return predicted(problem, widths, dropped, precisions)


def _cost(unit: LayerUnit, precision: str | None) -> PrecisionCost:
    if precision is None or precision not in unit.costs:
        raise UserError(f"unit {unit.name} in precision {precision}", allowed=", ".join(unit.costs))
    return unit.costs[precision]


def _transitions_ms(problem: PlanProblem, dropped: Collection[str], precisions: Mapping[str, str]) -> float:
    total = 0.0
    for transition in problem.transitions:
        before, after = problem.unit[transition.before], problem.unit[transition.after]
        if before.block in dropped or after.block in dropped:
            continue
        if all(name in dropped for name in transition.across):
            pair = precisions[before.name], precisions[after.name]
            total += transition.latency_ms.get(pair, 0.0)
    return total
