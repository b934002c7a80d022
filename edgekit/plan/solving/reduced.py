"""The integer program of what relaxation leaves open, linearised over pairs and solved by HiGHS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.plan.solving.factors import FactorGraph, States
from edgekit.quiet import quiet_descriptor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["KeptStates", "Reduced", "joint_states", "solve_reduced"]


KeptStates = Sequence["NDArray[np.int64]"]
"""Per variable, the states that are open, ascending."""


@dataclass(frozen=True)
class Reduced:
    """The best states, None where none was found; `bound`: on the harm of all plans within the kept states."""

    states: States | None
    bound: float


def joint_states(graph: FactorGraph, kept: KeptStates) -> int:
    """How many columns the factors of these states have in the program: what its time goes with."""
    sizes = [len(states) for states in kept]
    total = 0
    for factor in graph.factors:
        open_sizes = [sizes[index] for index in factor.scope if sizes[index] > 1]
        total += math.prod(open_sizes) if len(open_sizes) > 1 else 0
    return total


def solve_reduced(
    graph: FactorGraph, kept: KeptStates, nodes: int, *, close: float = 0.0, tighter: float = 0.0
) -> Reduced:
    """Minimise harm within the limits over the states that `kept` [variable] lists.

    A column for each open state, one for each joint state of a factor, which sum up to those of its variables: with
    whole states, joint ones are whole by themselves. `nodes` of branch and bound at most: not seconds, so that
    the same problem ends at the same plan. `close`: the relative gap that is good enough. `tighter`: share of each
    limit that is left free, since HiGHS may pass one by 1e-6.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    program = _Program(graph, kept)
    harm, uses, rows = program.columns()
    if not len(harm):
        states = tuple(int(states[0]) for states in kept)
        return Reduced(states, program.harm) if graph.keeps(states) else Reduced(None, math.inf)
    scale = max(1e-12, float(np.abs(harm).max()))
    constraints = [LinearConstraint(rows, *program.sides())]
    if len(graph.limits):
        constraints.append(LinearConstraint(uses, -np.inf, -program.uses - tighter))
    with quiet_descriptor():  # HiGHS prints a line of its own while it looks for a solution
        solved = milp(
            harm / scale,
            integrality=np.arange(len(harm)) < program.states,
            bounds=Bounds(0.0, program.upper()),
            constraints=constraints,
            options={"node_limit": nodes, "mip_rel_gap": close},
        )
    if solved.status == 2:  # infeasible
        return Reduced(None, math.inf)
    bound = solved.mip_dual_bound
    # HiGHS stops within 1e-6 of the scaled harm, and holds rows to 1e-6.
    least = program.harm + (float(bound) - 1e-6) * scale if bound is not None else -math.inf
    return Reduced(None if solved.x is None else program.decoded(solved.x), least)


@dataclass
class _Program:
    """Columns and rows of one program. States that are alone are no columns: their costs are in `harm` and `uses`."""

    graph: FactorGraph
    kept: KeptStates
    states: int = 0
    harm: float = 0.0
    offsets: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import numpy as np

        self.uses = np.array(self.graph.base)
        for variable, states in enumerate(self.kept):
            if len(states) > 1:
                self.offsets[variable] = self.states
                self.states += len(states)

    def columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64], object]:
        """Harm [columns], uses [limits, columns], and the rows that tie joint states to states (sparse)."""
        import numpy as np
        from scipy.sparse import csr_array

        harm, uses = [np.zeros(self.states)], [np.zeros((len(self.graph.limits), self.states))]
        self._forbidden = [np.zeros(self.states, bool)]
        at: list[tuple[NDArray[np.int64], NDArray[np.int64], float]] = []
        width, row = self.states, 0
        for variable, offset in self.offsets.items():
            columns = offset + np.arange(len(self.kept[variable]))
            at.append((np.full(len(columns), row), columns, 1.0))
            row += 1
        self._ones = row
        for factor in self.graph.factors:
            index = np.ix_(*(self.kept[variable] for variable in factor.scope))
            open_ones = [variable for variable in factor.scope if variable in self.offsets]
            shape = tuple(len(self.kept[variable]) for variable in open_ones)
            own = factor.harm[index].reshape(-1)
            used = np.array([limit[index].reshape(-1) for limit in factor.uses])
            used = used.reshape(len(self.graph.limits), len(own))
            barred = (
                np.zeros(len(own), bool) if factor.forbidden is None else factor.forbidden[index].reshape(-1)
            )
            if not open_ones:
                self.harm += float(own[0])
                self.uses = self.uses + used[:, 0] + (np.inf if barred[0] else 0.0)
            elif len(open_ones) == 1:
                place = slice(self.offsets[open_ones[0]], self.offsets[open_ones[0]] + shape[0])
                harm[0][place] += own
                uses[0][:, place] += used
                self._forbidden[0][place] |= barred
            else:
                harm.append(own)
                uses.append(used)
                self._forbidden.append(barred)
                places = np.unravel_index(np.arange(len(own)), shape)
                for variable, states in zip(open_ones, places, strict=True):
                    count = len(self.kept[variable])
                    at.append((row + states, width + np.arange(len(own)), 1.0))
                    at.append((row + np.arange(count), self.offsets[variable] + np.arange(count), -1.0))
                    row += count
                width += len(own)
        self._rows = row
        rows = csr_array(
            (
                np.concatenate([np.full(len(columns), value) for _, columns, value in at] or [np.zeros(0)]),
                (
                    np.concatenate([rows for rows, _, _ in at] or [np.zeros(0, int)]),
                    np.concatenate([columns for _, columns, _ in at] or [np.zeros(0, int)]),
                ),
            ),
            shape=(row, width),
        )
        return np.concatenate(harm), np.concatenate(uses, axis=1), rows

    def sides(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the rows are: one state of each variable, then nothing left between joint states and states."""
        import numpy as np

        sides = (np.arange(self._rows) < self._ones).astype(float)
        return sides, sides

    def upper(self) -> NDArray[np.float64]:
        import numpy as np

        return (~np.concatenate(self._forbidden)).astype(float)

    def decoded(self, values: NDArray[np.float64]) -> States:
        states = []
        for variable, kept in enumerate(self.kept):
            offset = self.offsets.get(variable)
            best = 0 if offset is None else int(values[offset : offset + len(kept)].argmax())
            states.append(int(kept[best]))
        return tuple(states)
