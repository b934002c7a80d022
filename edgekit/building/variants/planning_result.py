"""What a build says of its plans, from what the search and the contest gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.building.variants.aiming import TrainedPlan
from edgekit.building.variants.basis import PlanBasis
from edgekit.building.variants.contest import Contender
from edgekit.building.variants.proposing import Search, TimedPlan
from edgekit.latency import LatencyTable, NetworkUnits
from edgekit.plan import shortfall
from edgekit.planning import unchanged
from edgekit.types import Budget, Candidate, LayerStaircase, Measurement, Origin, PlanningResult, PlanResult

__all__ = ["planning_result"]

STAIRCASES = 4
"""Layers whose times are drawn: those that take most of it."""


def planning_result(
    basis: PlanBasis,
    table: LatencyTable,
    lead: Candidate,
    budget: Budget,
    seen: Measurement,
    looked: Search,
    contenders: Sequence[Contender] = (),
    scores: Mapping[str, tuple[float, ...]] | None = None,
    variants: Mapping[str, str] | None = None,
    trained: Mapping[str, TrainedPlan] | None = None,
    ended: str = "",
) -> PlanningResult:
    """The plans with what became of them. `seen`: the leading build of the original; `variants`: plan → network;
    `trained`: plan → what was measured of that; `ended`: why nothing more was trained.
    """
    assert budget.max_latency_ms is not None
    place = table.measured_on
    untrained = {contender.plan.id: contender.untrained for contender in contenders}
    return PlanningResult(
        runtime=lead.backend,
        precision=lead.precision,
        table=f"{place.machine}, {place.runtime} {place.version}, {place.threads} thread"
        + ("s" if place.threads != 1 else ""),
        origin=seen.origin,
        percentile=budget.percentile,
        limit_ms=budget.max_latency_ms,
        original_ms=unchanged(basis.assembled.problem).latency_ms,
        plans=tuple(
            plan_result(
                plan,
                basis,
                budget,
                untrained.get(plan.id),
                (scores or {}).get(plan.id, ()),
                variants or {},
                (trained or {}).get(plan.id),
            )
            for plan in looked.plans
        ),
        reason="; ".join(part for part in (how_it_ended(looked, budget, seen.origin), ended) if part),
        kept=basis.assembled.kept,
        staircases=staircases(table, basis.network),
        notes=(*basis.assembled.notes, *looked.notes),
    )


def plan_result(
    plan: TimedPlan,
    basis: PlanBasis,
    budget: Budget,
    untrained: float | None,
    scores: tuple[float, ...],
    variants: Mapping[str, str],
    trained: TrainedPlan | None = None,
) -> PlanResult:
    """One plan."""
    full = {group.name: group.widths[-1] for group in basis.coupling.groups}
    widths = {
        name: (width, full[name]) for name, width in plan.allocation.widths.items() if width < full[name]
    }
    variant = variants.get(plan.id, "")
    return PlanResult(
        id=plan.id,
        predicted_ms=plan.predicted_ms,
        latency_ms=plan.structure.latency_ms if plan.structure else None,
        harm=plan.allocation.harm,
        macs=plan.pruning.fraction,
        dropped=tuple(plan.allocation.dropped),
        merged=tuple(plan.allocation.merged),
        widths=widths,
        untrained=untrained,
        scores=scores,
        variant=variant,
        why="" if variant else why_not_trained(plan, budget, untrained, scores),
        drop=trained.drop if trained else None,
        trained_ms=trained.latency_ms if trained else None,
    )


def why_not_trained(
    plan: TimedPlan, budget: Budget, untrained: float | None, scores: tuple[float, ...]
) -> str:
    """Why a plan became no network, in words."""
    if plan.structure is None:
        return "no runtime could run it"
    short = shortfall(plan.structure, budget)
    if short:
        return short
    if scores:
        return f"another plan learnt better: {scores[-1]:.1%} after {len(scores)} short training" + (
            "s" if len(scores) > 1 else ""
        )
    return "others looked better untrained" if untrained is not None else "not looked at"


def how_it_ended(looked: Search, budget: Budget, origin: Origin) -> str:
    """One sentence. Of a board that is not here nothing was measured, and none is told to be."""
    within = sum(
        plan.structure is not None and not shortfall(plan.structure, budget) for plan in looked.plans
    )
    of = len(looked.plans)
    if origin == "estimated":
        kept = f"{within} of {of} plans keep" if within else f"none of {of} plans keeps"
        return f"{kept} within {budget.max_latency_ms:g} ms by the table's estimate"
    if not within:
        return f"none of {of} plans keeps within {budget.max_latency_ms:g} ms"
    return (
        f"{within} of {of} plans keep within {budget.max_latency_ms:g} ms; measured times were "
        f"{looked.ratio:.2f} of the predicted ones"
    )


def staircases(table: LatencyTable, network: NetworkUnits) -> tuple[LayerStaircase, ...]:
    """Of the layers with weights that take most time and differ from each other, where three widths were timed."""
    slowest: dict[object, tuple[float, LayerStaircase]] = {}
    for unit in network.units:
        told = table.predict(unit).latency_ms
        if not unit.layer or unit.family.is_square or told is None:
            continue
        points = sorted(
            (row.unit.channels_out, row.latency_ms.value, row.latency_ms.low, row.latency_ms.high)
            for row in table.timed
            if row.unit.family == unit.family and row.unit.channels_in == unit.channels_in
        )
        if len(points) > 2:
            stair = LayerStaircase(unit.layer, unit.channels_out, tuple(points))
            slowest.setdefault((unit.family, unit.channels_in), (told.value, stair))
    order = sorted(slowest.values(), key=lambda pair: -pair[0])
    return tuple(stair for _, stair in order[:STAIRCASES])
