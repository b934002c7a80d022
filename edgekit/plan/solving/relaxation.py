"""Lagrangian relaxation: limits become prices, and the best prices give the highest lower bound.

Kelley's cutting planes (J. SIAM 8, 1960), seen from the side of the plans, as Dantzig and Wolfe have it: a small linear
program mixes the plans that were seen, its duals are the next prices, elimination finds the best plan at these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.plan.solving.elimination import Elimination
from edgekit.plan.solving.factors import SLACK, States

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Seen = dict[States, tuple[float, NDArray[np.float64]]]  # plan → harm, uses [limits]

__all__ = ["Relaxed", "fastest", "relaxed"]

SWEEPS = 200
"""At most, in either phase. One limit takes about ten, four take about forty."""

CLOSE = 1e-6
"""Relative: where the mixture and the bound are as near as that, prices are best."""


@dataclass(frozen=True)
class Relaxed:
    """`bound`: no plan that keeps within the limits has less harm; infinite where it is proved that there is none.

    `multipliers` [limits] reach it: harm per limit. `seen`: the states of every sweep, some of them within the limits.
    """

    bound: float
    multipliers: NDArray[np.float64]
    seen: tuple[States, ...]


def fastest(elimination: Elimination, limit: int = 0) -> States:
    """The states that use least of one limit, and of these (to a billionth) those of least harm."""
    import numpy as np

    graph = elimination.graph
    multipliers = np.zeros(len(graph.limits))
    multipliers[limit] = 1.0
    spread = sum(float(np.ptp(factor.harm)) for factor in graph.factors)
    return elimination.sweep(SLACK / spread if spread else 0.0, multipliers).states


def relaxed(elimination: Elimination) -> Relaxed:
    """The best prices of all limits."""
    import numpy as np

    graph = elimination.graph
    count = len(graph.limits)
    free = elimination.sweep(1.0, np.zeros(count))
    if not math.isfinite(free.value):
        return Relaxed(math.inf, np.zeros(count), ())
    if graph.keeps(free.states):
        return Relaxed(free.value, np.zeros(count), (free.states,))
    seen: Seen = {}
    for states in (free.states, *(fastest(elimination, limit) for limit in range(count))):
        seen[states] = graph.totals(states)[:2]
    for _ in range(SWEEPS):
        prices, excess = _least_excess(_rows(seen)[1])
        if excess <= 0:
            break
        swept = elimination.sweep(0.0, prices)
        value = swept.value + float(prices @ graph.base)
        if value > SLACK:
            return Relaxed(math.inf, prices, tuple(seen))
        if swept.states in seen:
            break
        seen[swept.states] = graph.totals(swept.states)[:2]
    return _best_prices(elimination, free.value, seen)


def _best_prices(elimination: Elimination, bound: float, seen: Seen) -> Relaxed:
    import numpy as np

    graph = elimination.graph
    best = np.zeros(len(graph.limits))
    for _ in range(SWEEPS):
        harm, uses = _rows(seen)
        mixed = _cheapest_mixture(harm, uses)
        if mixed is None:
            break
        prices, value = mixed
        swept = elimination.sweep(1.0, prices)
        reached = swept.value + float(prices @ graph.base)
        if reached > bound:
            bound, best = reached, prices
        if swept.states in seen or value - bound <= CLOSE * max(1e-12, float(np.abs(harm).max())):
            break
        seen[swept.states] = graph.totals(swept.states)[:2]
    return Relaxed(bound, best, tuple(seen))


def _rows(seen: Seen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Harm [plans] and uses [limits, plans]."""
    import numpy as np

    return np.array([harm for harm, _ in seen.values()]), np.stack([uses for _, uses in seen.values()], 1)


def _least_excess(uses: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """How far the best mixture of plans is over its worst limit, and the price of each limit there."""
    import numpy as np

    limits, plans = uses.shape
    solved = _linear(
        [*np.zeros(plans), 1.0],
        np.hstack([uses, -np.ones((limits, 1))]),
        [*np.ones(plans), 0.0],
        [*((0.0, None) for _ in range(plans)), (None, None)],
    )
    assert solved is not None, "any mixture will do"
    return solved


def _cheapest_mixture(
    harm: NDArray[np.float64], uses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float] | None:
    """The prices of the mixture of plans that keeps within all limits at least harm; None where none does."""
    import numpy as np

    return _linear(harm, uses, np.ones(len(harm)), [(0.0, None)] * len(harm))


def _linear(
    costs: Sequence[float] | NDArray[np.float64],
    uses: NDArray[np.float64],
    weights: Sequence[float] | NDArray[np.float64],
    bounds: Sequence[tuple[float | None, float | None]],
) -> tuple[NDArray[np.float64], float] | None:
    """Minimise costs where uses are at most 0 and weights are 1 in all. → prices of the uses, and the least cost."""
    import numpy as np
    from scipy.optimize import linprog

    scale = max(1e-12, float(np.abs(costs).max()))  # HiGHS has absolute tolerances
    solved = linprog(
        np.array(costs) / scale,
        A_ub=uses,
        b_ub=np.zeros(len(uses)),
        A_eq=np.array([weights]),
        b_eq=[1.0],
        bounds=bounds,
        method="highs",
    )
    if solved.x is None:
        return None
    return np.maximum(0.0, -solved.ineqlin.marginals) * scale, float(solved.fun) * scale
