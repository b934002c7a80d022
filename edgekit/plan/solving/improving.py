"""A plan made better by changing one choice at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.plan.solving.factors import SLACK, FactorGraph, States

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["improved", "rank"]

Rank = tuple[float, float, float]

ROUNDS = 30


def rank(graph: FactorGraph, states: States) -> Rank:
    """Less is better: what passes the limits (0: nothing), then harm, then what it uses of the first limit."""
    harm, uses, forbidden = graph.totals(states)
    over = float(uses[uses > SLACK].sum()) + forbidden
    return over, harm, float(uses[0]) if len(uses) else 0.0


def improved(graph: FactorGraph, states: States) -> States:
    """The states after single changes that each rank better; variables take turns until none has a better state.

    A block is dropped, merged and kept with all that belongs to it.
    """
    touching: list[set[int]] = [set() for _ in graph.variables]
    for index, factor in enumerate(graph.factors):
        for variable in factor.scope:
            touching[variable].add(index)
    for block, variables in graph.inside.items():
        touching[block] = touching[block].union(*(touching[variable] for variable in variables))
    factors = [sorted(indices) for indices in touching]
    now = list(states)
    for _ in range(ROUNDS):
        harm, uses, forbidden = graph.totals(now)
        changed = False
        for variable, indices in enumerate(factors):
            around = _block_around if variable in graph.inside else _around
            harms, used, barred = around(graph, indices, variable, now)
            here = now[variable]
            all_harm = harm + (harms - harms[here])
            all_uses = uses[:, None] + (used - used[:, [here]])
            all_barred = forbidden + (barred - barred[here])
            best = _best(all_harm, all_uses, all_barred, here)
            if best != here:
                now, changed = _moved(graph, now, variable, best), True
                harm, uses, forbidden = float(all_harm[best]), all_uses[:, best], int(all_barred[best])
        if not changed:
            break
    return tuple(now)


def _moved(graph: FactorGraph, states: list[int], variable: int, state: int) -> list[int]:
    """The states with one of them changed, and what is inside of a changed block in its first state."""
    moved = list(states)
    for index in graph.inside.get(variable, ()):
        moved[index] = 0
    moved[variable] = state
    return moved


def _block_around(
    graph: FactorGraph, factors: list[int], block: int, states: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """What `_around` gives, with the block as it is and in its other ways."""
    import numpy as np

    options = [
        states if state == states[block] else _moved(graph, states, block, state)
        for state in range(graph.variables[block].count)
    ]
    totals = [graph.totals(option, factors) for option in options]
    return (
        np.array([harm for harm, _, _ in totals]),
        np.stack([uses for _, uses, _ in totals], axis=1),
        np.array([forbidden for _, _, forbidden in totals]),
    )


def _around(
    graph: FactorGraph, factors: list[int], variable: int, states: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Harm, uses [limits, states] and forbidden entries of a variable's factors, at each of its states."""
    import numpy as np

    count = graph.variables[variable].count
    harm, uses = np.zeros(count), np.zeros((len(graph.limits), count))
    forbidden = np.zeros(count, np.int64)
    for index in factors:
        factor = graph.factors[index]
        at: tuple[int | slice, ...] = tuple(
            slice(None) if name == variable else states[name] for name in factor.scope
        )
        harm += factor.harm[at]
        uses += factor.used_at(at)
        if factor.forbidden is not None:
            forbidden += factor.forbidden[at]
    return harm, uses, forbidden


def _best(
    harm: NDArray[np.float64], uses: NDArray[np.float64], forbidden: NDArray[np.int64], here: int
) -> int:
    """The state that ranks best; the present one unless another is better by more than rounding."""
    import numpy as np

    over = np.where(uses > SLACK, uses, 0.0).sum(axis=0) + forbidden
    first = uses[0] if len(uses) else np.zeros(len(harm))
    small = 1e-12 * max(1e-12, float(np.abs(harm).max()))
    least = over <= over.min() + SLACK
    least &= harm <= harm[least].min() + small
    least &= first <= first[least].min() + SLACK
    return here if least[here] else int(least.argmax())
