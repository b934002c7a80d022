"""A plan as it leaves the solver: what was chosen, in the problem's own names, and what it is predicted to take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgekit.errors import UserError
from edgekit.plan.solving.factors import FactorGraph, States, ways_of
from edgekit.plan.solving.problem import BlockWay, LayerUnit, PlanProblem, PrecisionCost, WidthTable

__all__ = ["Allocation", "allocated", "predicted"]


@dataclass(frozen=True)
class Allocation:
    """One plan, by names. `widths` of the groups that stay, `precisions` of the units that stay, and what is done with
    blocks.

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
    merged: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[object, ...]:
        """What was chosen, without what it takes: equal for equal plans."""
        return tuple(self.widths.items()), self.dropped, tuple(self.precisions.items()), self.merged


def predicted(
    problem: PlanProblem,
    widths: Mapping[str, int],
    dropped: Collection[str],
    precisions: Mapping[str, str],
    merged: Collection[str] = (),
) -> Allocation:
    """What any plan would take. Choices of groups and units that are not there with a block so are left out.

    Raises UserError where a choice is missing, or is none that the problem has.
    """
    ways = block_ways(problem, dropped, merged)
    groups = [
        group for group in problem.groups if ways.get(problem.block_of.get(group.name), "kept") == "kept"
    ]
    units = [unit for unit in problem.units if unit.block is None or ways[unit.block] in unit.there]
    harm = sum(block.harms[ways[block.name]] for block in problem.blocks)
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
        dropped=tuple(block.name for block in problem.blocks if ways[block.name] == "dropped"),
        precisions={unit.name: precisions[unit.name] for unit in units},
        harm=harm + sum(cost.harm for _, cost in chosen),
        latency_ms=problem.fixed_ms
        + sum(taken(unit, cost.latency_ms) for unit, cost in chosen)
        + _transitions_ms(problem, ways, precisions),
        size_bytes=problem.fixed_bytes + sum(taken(unit, cost.size_bytes) for unit, cost in chosen),
        memory_bytes=max((taken(unit, cost.memory_bytes) for unit, cost in chosen), default=0.0),
        energy_mj=sum(taken(unit, cost.energy_mj) for unit, cost in chosen),
        merged=tuple(block.name for block in problem.blocks if ways[block.name] == "merged"),
    )


def block_ways(
    problem: PlanProblem, dropped: Collection[str], merged: Collection[str]
) -> Mapping[str | None, BlockWay]:
    """Block → what is done with it. Raises UserError for a block that is not there, or cannot be done with so."""
    asked: dict[str | None, BlockWay] = dict.fromkeys(problem.block, "kept")
    told: tuple[tuple[BlockWay, Collection[str]], ...] = (("dropped", dropped), ("merged", merged))
    for way, names in told:
        for name in names:
            if name not in problem.block:
                raise UserError(f"no block is called {name}", allowed=", ".join(problem.block) or "none")
            if way not in problem.block[name].harms:
                raise UserError(f"block {name} cannot be {way}", allowed=", ".join(problem.block[name].harms))
            asked[name] = way
    return asked


def allocated(problem: PlanProblem, graph: FactorGraph, states: States) -> Allocation:
    """States of the problem's graph, in names."""
    widths: dict[str, int] = {}
    precisions: dict[str, str] = {}
    done: dict[BlockWay, list[str]] = {"kept": [], "dropped": [], "merged": []}
    for variable, state in zip(graph.variables, states, strict=True):
        if variable.kind == "group":
            widths[variable.name] = problem.group[variable.name].widths[state]
        elif variable.kind == "unit":
            precisions[variable.name] = sorted(problem.unit[variable.name].costs)[state]
        else:
            done[ways_of(problem, variable.name)[state]].append(variable.name)
    return predicted(problem, widths, done["dropped"], precisions, done["merged"])


def _cost(unit: LayerUnit, precision: str | None) -> PrecisionCost:
    if precision is None or precision not in unit.costs:
        raise UserError(f"unit {unit.name} in precision {precision}", allowed=", ".join(unit.costs))
    return unit.costs[precision]


def _transitions_ms(
    problem: PlanProblem, ways: Mapping[str | None, BlockWay], precisions: Mapping[str, str]
) -> float:
    total = 0.0
    for transition in problem.transitions:
        before, after = problem.unit[transition.before], problem.unit[transition.after]
        if any(unit.block and ways[unit.block] not in unit.there for unit in (before, after)):
            continue
        if all(ways[name] == "dropped" for name in transition.across):
            pair = precisions[before.name], precisions[after.name]
            total += transition.latency_ms.get(pair, 0.0)
    return total
