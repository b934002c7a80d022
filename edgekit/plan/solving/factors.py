"""A problem as a sum of small tables over discrete variables, which is what elimination and HiGHS work on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.plan.solving.problem import (
    BlockWay,
    LayerUnit,
    PlanProblem,
    PrecisionCost,
    Transition,
    WidthTable,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SLACK", "Factor", "FactorGraph", "States", "Variable", "factored", "ways_of"]

States = tuple[int, ...]
"""A state of each variable, in the graph's order."""

SLACK = 1e-9
"""Relative: by which a sum of many tables may pass a limit, because floats do not add up in every order alike."""


@dataclass(frozen=True)
class Variable:
    """A block (`ways_of`), a group (its widths), or a unit (its precisions, by name)."""

    kind: str
    name: str
    count: int


@dataclass(frozen=True)
class Factor:
    """Costs of the joint states of a few variables. `scope`: their indices, ascending, an axis each.

    `harm` [*axes]; `uses` [limits, *axes]: shares of each limit; `forbidden` [*axes]: what no plan may do.
    """

    scope: tuple[int, ...]
    harm: NDArray[np.float64]
    uses: NDArray[np.float64]
    forbidden: NDArray[np.bool_] | None = None

    def used_at(self, states: tuple[int | slice, ...]) -> NDArray[np.float64]:
        """[limits, *axes that a slice leaves]."""
        every: tuple[int | slice, ...] = (slice(None), *states)
        used: NDArray[np.float64] = self.uses[every]
        return used

    def weighted(self, harm: float, multipliers: NDArray[np.float64]) -> NDArray[np.float64]:
        """[*axes]: one cost, infinite where it is forbidden."""
        import numpy as np

        cost: NDArray[np.float64] = harm * self.harm + np.tensordot(multipliers, self.uses, 1)
        return cost if self.forbidden is None else np.where(self.forbidden, np.inf, cost)


@dataclass(frozen=True)
class FactorGraph:
    """The sum of all factors is what a plan costs. `limits`: names of those that add up; `base`: what is used anyway.

    All uses are shares of their limit, and `base` begins at -1: a plan that keeps within has no use above 0. `inside`:
    block → the variables that belong to it, which are all in their first state where they are not there.
    """

    variables: tuple[Variable, ...]
    factors: tuple[Factor, ...]
    limits: tuple[str, ...]
    base: tuple[float, ...]
    inside: Mapping[int, tuple[int, ...]]

    def totals(
        self, states: Sequence[int], factors: Iterable[int] | None = None
    ) -> tuple[float, NDArray[np.float64], int]:
        """Harm, the uses [limits], and how many forbidden entries it meets; of these factors, else of all."""
        import numpy as np

        harm, forbidden = 0.0, 0
        uses: NDArray[np.float64] = np.array(self.base)
        for factor in self.factors if factors is None else [self.factors[index] for index in factors]:
            at = tuple(states[index] for index in factor.scope)
            harm += float(factor.harm[at])
            uses = uses + factor.used_at(at)
            forbidden += int(factor.forbidden is not None and factor.forbidden[at])
        return harm, uses, forbidden

    def keeps(self, states: States) -> bool:
        """Whether these states keep within every limit."""
        _, uses, forbidden = self.totals(states)
        return not forbidden and bool((uses <= SLACK).all())


def factored(problem: PlanProblem) -> FactorGraph:
    """The problem's graph. Variables and factors stand by name, so that the order of what was given does not count."""
    import numpy as np

    limits = {
        name: limit
        for name in ("latency_ms", "size_bytes", "energy_mj")
        if (limit := getattr(problem.limits, name)) is not None
    }
    fixed = {"latency_ms": problem.fixed_ms, "size_bytes": problem.fixed_bytes, "energy_mj": 0.0}
    variables = (
        *(Variable("block", name, len(ways_of(problem, name))) for name in sorted(problem.block)),
        *(Variable("group", name, len(problem.group[name].widths)) for name in sorted(problem.group)),
        *(Variable("unit", name, len(problem.unit[name].costs)) for name in sorted(problem.unit)),
    )
    maker = _Maker(problem, variables, limits)
    transitions = sorted(problem.transitions, key=lambda item: (item.before, item.after, item.across))
    factors = [
        *(maker.of_block(name) for name in sorted(problem.block)),
        *(maker.of_group(name) for name in sorted(problem.group)),
        *(maker.of_unit(problem.unit[name]) for name in sorted(problem.unit)),
        *(maker.of_transition(transition) for transition in transitions),
    ]
    base = tuple(float(np.float64(fixed[name]) / limit - 1) for name, limit in limits.items())
    return FactorGraph(variables, tuple(factors), tuple(limits), base, maker.inside())


def ways_of(problem: PlanProblem, block: str) -> tuple[BlockWay, ...]:
    """The states of a block's variable; that in which it is kept comes first."""
    return tuple(problem.block[block].harms)


class _Maker:
    """Makes the factors of one problem."""

    def __init__(
        self, problem: PlanProblem, variables: Sequence[Variable], limits: Mapping[str, float]
    ) -> None:
        self.problem, self.limits = problem, limits
        self.index = {(variable.kind, variable.name): index for index, variable in enumerate(variables)}
        self.counts = [variable.count for variable in variables]

    def inside(self) -> Mapping[int, tuple[int, ...]]:
        """See the graph."""
        inside: dict[int, list[int]] = {self.index["block", name]: [] for name in self.problem.block}
        for group, block in self.problem.block_of.items():
            inside[self.index["block", block]].append(self.index["group", group])
        for unit in self.problem.units:
            if unit.block:
                inside[self.index["block", unit.block]].append(self.index["unit", unit.name])
        return {block: tuple(sorted(variables)) for block, variables in inside.items()}

    def of_block(self, name: str) -> Factor:
        import numpy as np

        harm = np.array(list(self.problem.block[name].harms.values()))
        return Factor((self.index["block", name],), harm, np.zeros((len(self.limits), len(harm))))

    def of_group(self, name: str) -> Factor:
        import numpy as np

        harm = np.array(self.problem.group[name].harm)
        uses = np.zeros((len(self.limits), len(harm)))
        scope = [self.index["group", name]]
        kept: tuple[BlockWay, ...] = ("kept",)
        return self._there(scope, harm, uses, None, self.problem.block_of.get(name), kept)

    def of_unit(self, unit: LayerUnit) -> Factor:
        import numpy as np

        costs = [unit.costs[precision] for precision in sorted(unit.costs)]
        tables = {name: self._stacked(unit, costs, name) for name in (*self.limits, "memory_bytes")}
        uses = np.stack(
            [tables[name] / limit for name, limit in self.limits.items()] or [tables["memory_bytes"]]
        )
        uses = uses[: len(self.limits)]
        harm = np.zeros(uses.shape[1:]) + np.array([cost.harm for cost in costs])
        most = self.problem.limits.memory_bytes
        forbidden = None if most is None else tables["memory_bytes"] > most * (1 + SLACK)
        scope = [*(self.index["group", name] for name in unit.groups), self.index["unit", unit.name]]
        return self._there(scope, harm, uses, forbidden, unit.block, unit.there)

    def of_transition(self, transition: Transition) -> Factor:
        """Counts where both units are there, and all blocks between them are dropped."""
        import numpy as np

        units = [self.problem.unit[name] for name in (transition.before, transition.after)]
        times = np.array(
            [
                [transition.latency_ms.get((first, second), 0.0) for second in sorted(units[1].costs)]
                for first in sorted(units[0].costs)
            ]
        )
        wanted: dict[str, tuple[BlockWay, ...]] = dict.fromkeys(transition.across, ("dropped",))
        for unit in units:
            if unit.block:
                wanted[unit.block] = tuple(set(unit.there) & set(wanted.get(unit.block, unit.there)))
        blocks = list(wanted)
        counts = np.ones([len(ways_of(self.problem, name)) for name in blocks])
        for axis, name in enumerate(blocks):
            lies_so = np.array([way in wanted[name] for way in ways_of(self.problem, name)], float)
            counts *= lies_so.reshape([-1 if other == axis else 1 for other in range(len(blocks))])
        full = counts[..., None, None] * times
        scope = [self.index["block", name] for name in blocks]
        scope += [self.index["unit", unit.name] for unit in units]
        uses = np.stack(
            [
                full / limit if name == "latency_ms" else np.zeros(full.shape)
                for name, limit in self.limits.items()
            ]
            or [full]
        )[: len(self.limits)]
        return _sorted(scope, np.zeros(full.shape), uses, None)

    def _stacked(self, unit: LayerUnit, costs: Iterable[PrecisionCost], name: str) -> NDArray[np.float64]:
        """[*widths of its groups, precision]."""
        import numpy as np

        shape = [self.counts[self.index["group", name]] for name in unit.groups]
        tables: list[WidthTable | None] = [getattr(cost, name) for cost in costs]
        return np.stack(
            [np.zeros(shape) if table is None else np.array(table, float).reshape(shape) for table in tables],
            -1,
        )

    def _there(
        self,
        scope: Sequence[int],
        harm: NDArray[np.float64],
        uses: NDArray[np.float64],
        forbidden: NDArray[np.bool_] | None,
        block: str | None,
        there: Collection[BlockWay],
    ) -> Factor:
        """The factor, all zero where its block is done with otherwise than in the ways `there`.

        Then the last axis, its own variable, is in its first state: every state of what has vanished would be as good
        as the best.
        """
        import numpy as np

        if block is None:
            return _sorted(scope, harm, uses, forbidden)
        counts = [way in there for way in ways_of(self.problem, block)]
        gone = np.zeros(harm.shape, bool)
        gone[..., 1:] = True
        own = np.zeros(harm.shape, bool) if forbidden is None else forbidden
        return _sorted(
            [self.index["block", block], *scope],
            np.stack([harm if is_there else np.zeros(harm.shape) for is_there in counts]),
            np.stack([uses if is_there else np.zeros(uses.shape) for is_there in counts], axis=1),
            np.stack([own if is_there else gone for is_there in counts]),
        )


def _sorted(
    scope: Sequence[int],
    harm: NDArray[np.float64],
    uses: NDArray[np.float64],
    forbidden: NDArray[np.bool_] | None,
) -> Factor:
    """The factor with its axes in ascending order."""
    order = sorted(range(len(scope)), key=lambda axis: scope[axis])
    return Factor(
        tuple(scope[axis] for axis in order),
        harm.transpose(order),
        uses.transpose([0, *(axis + 1 for axis in order)]),
        None if forbidden is None or not forbidden.any() else forbidden.transpose(order),
    )
