"""Planned variants: widths and blocks chosen together by a table of times, checked on the board, then trained."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.building.variants.base import Made, MakerContext
from edgekit.building.variants.proposing import Search, search
from edgekit.building.variants.pruned import PrunedMaker
from edgekit.building.variants.rounds import PlanRounds
from edgekit.building.variants.way import found_way, timed
from edgekit.errors import StageError, UserError
from edgekit.types import Budget, Rejection

__all__ = ["PlannedMaker"]

PLANNING = "planning"


class PlannedMaker:
    """Plans for the budget's latency; where there is no way to plan, prunes as PrunedMaker does."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        return PrunedMaker().why_not(context)

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when the training fails."""
        try:
            way = found_way(context)
            looked = search(way.basis, way.budget, way.ratio, lambda plans: timed(context, way, plans))
        except (StageError, UserError) as error:
            cause, remedy = (
                (error.cause, error.remedy)
                if isinstance(error, StageError)
                else (error.parts[0], error.parts[2])
            )
            yield Rejection(PLANNING, f"{cause}; the network is pruned by its MACs instead", remedy)
            yield from PrunedMaker().make(context)
            return
        rounds = PlanRounds(context, way, looked)
        if not looked.within:
            yield rounds.told("")
            yield Rejection(PLANNING, too_slow(looked, way.budget), "a larger budget, or a faster board")
            yield from PrunedMaker().make(context)
            return
        yield from rounds.trained()


def too_slow(looked: Search, budget: Budget) -> str:
    """How near the fastest plan came."""
    timed_ms = [plan.structure.latency_ms for plan in looked.plans if plan.structure]
    if not timed_ms:
        return "no plan could be timed"
    return (
        f"of {len(looked.plans)} plans the fastest takes {min(timed_ms):.3f} ms at {budget.percentile} "
        f"of {budget.max_latency_ms:g} ms"
    )
