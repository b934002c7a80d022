"""Planned variants: widths and blocks chosen together by a table of times, checked on the board, then trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgekit.building.layer_times import LayerTimes, timed_precision
from edgekit.building.variants.base import Made, MadeVariant, MakerContext
from edgekit.building.variants.basis import PlanBasis, plan_basis
from edgekit.building.variants.contest import contested, train_winner, with_untrained
from edgekit.building.variants.original import ORIGINAL, make_variant
from edgekit.building.variants.planning_result import planning_result
from edgekit.building.variants.proposing import Search, TimedPlan, search
from edgekit.building.variants.pruned import PrunedMaker, fits_nowhere, leaders, with_energy, with_free_memory
from edgekit.building.variants.training import prune_config
from edgekit.compress import PrunePlan, apply_plan
from edgekit.errors import StageError, UserError
from edgekit.latency import LatencyTable
from edgekit.model import export_onnx
from edgekit.plan import Structure
from edgekit.plan.solving import PlanLimits
from edgekit.planning import Assembled, unchanged
from edgekit.types import Budget, Candidate, Rejection, Signature, Variant

__all__ = ["PlannedMaker"]

PLANNING = "planning"


@dataclass(frozen=True)
class _Way:
    """What is planned for: the leading build, its table, and the problem."""

    lead: Candidate
    table: LatencyTable
    basis: PlanBasis
    budget: Budget
    ratio: float
    is_absent: bool


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
        told = partial(
            planning_result, way.basis, way.table, way.lead, way.budget, context.measurements[way.lead.id]
        )
        if not looked.within:
            yield told(looked)
            yield Rejection(PLANNING, too_slow(looked, way.budget), "a larger budget, or a faster board")
            yield from PrunedMaker().make(context)
            return
        contenders = with_untrained(context, way.basis, looked.within)
        standing = contested(context, contenders)
        contest = standing.contest
        plan = next(other.plan for other in contenders if other.plan.id == contest.winner)
        made = list(train_winner(context, plan, standing))
        became = next((part.variant.id for part in made if isinstance(part, MadeVariant)), "")
        yield told(looked, contenders, contest.scores, {plan.id: became})
        yield from made


def found_way(context: MakerContext) -> _Way:
    """The leading build that the table is of, and the problem at the budget. Raises StageError, UserError."""
    times = context.layer_times
    assert times is not None
    budget = with_free_memory(context.request.budget, context.measurements.values())
    if budget.fastest or budget.max_latency_ms is None:
        raise StageError("plan", "plans are for a latency, and the budget limits none")
    lead = lead_of(context, budget, times)
    precision = timed_precision(lead)
    assert precision is not None
    table = times.table_for(Path(context.original.onnx_path), lead.backend, precision)
    config = prune_config(context.request.train, context.target.channel_multiple(lead.precision))
    basis = plan_basis(
        context.cache,
        context.reporter,
        context.model,
        context.source,
        context.splits,
        context.original,
        table,
        precision,
        config,
        PlanLimits(latency_ms=budget.max_latency_ms, size_bytes=budget.max_size_bytes),
    )
    basis = replace(basis, assembled=with_artifact_size(context, basis.assembled, lead, budget))
    measured = context.measurements[lead.id]
    is_absent = measured.origin == "estimated"
    assert measured.latency is not None
    # The median: a burst in its percentile would ask for far too small a network, and each round corrects the rest.
    seen_ms = measured.latency.p50.value
    ratio = 1.0 if is_absent else seen_ms / unchanged(basis.assembled.problem).latency_ms
    return _Way(lead, table, basis, budget, ratio, is_absent)


def with_artifact_size(
    context: MakerContext, assembled: Assembled, lead: Candidate, budget: Budget
) -> Assembled:
    """The problem with what the lead's file holds beside weights, so that its limit is one on files.

    Raises StageError where that alone is more than the budget.
    """
    if budget.max_size_bytes is None:
        return assembled
    file = next(attempt.artifact for attempt in context.attempts if attempt.candidate.id == lead.id)
    besides = max(0.0, file.size_bytes - unchanged(assembled.problem).size_bytes)
    if besides >= budget.max_size_bytes:
        raise StageError("plan", f"the file of {lead.id} holds {besides:,.0f} bytes beside its weights")
    return replace(assembled, problem=replace(assembled.problem, fixed_bytes=besides))


def lead_of(context: MakerContext, budget: Budget, times: LayerTimes) -> Candidate:
    """The leading build of the table's runtime, or of all, in a precision that is timed. Raises StageError."""
    leads = [attempt.candidate for attempt in leaders(context.attempts, context.measurements, budget)]
    wanted = times.runtime
    fitting = [
        lead
        for lead in leads
        if (wanted is None or lead.backend == wanted)
        and timed_precision(lead)
        and lead.device == leads[0].device
    ]
    if not fitting or fits_nowhere(context.target, context.original):
        told = ", ".join(f"{lead.backend} {lead.precision}" for lead in leads)
        raise StageError("plan", f"no table tells of what leads here ({told})")
    return fitting[0]


def timed(context: MakerContext, way: _Way, plans: Sequence[TimedPlan]) -> Mapping[str, Structure]:
    """What the untrained structures take on the board; of a board that is not here, their time by the table."""
    variants = [untrained(context, way.basis, plan.id, plan.pruning) for plan in plans]
    structures = context.probe(variants, context.original, [way.lead])
    if way.is_absent:
        predicted_ms = {plan.id: plan.predicted_ms for plan in plans}
        structures = [replace(row, latency_ms=predicted_ms[row.variant]) for row in structures]
    structures = with_energy(structures, context.measurements, way.budget)
    return {structure.variant: structure for structure in structures}


def untrained(context: MakerContext, basis: PlanBasis, name: str, plan: PrunePlan) -> Variant:
    """The network after the plan, as ONNX."""

    def write(path: Path) -> Signature:
        return export_onnx(apply_plan(basis.module, basis.example, plan), basis.example, path)

    parts = {"model": context.model.ref.digest, "plan": plan.to_json()}
    return make_variant(context.cache, name, "pruned", ORIGINAL, "untrained plan", parts, write)


def too_slow(looked: Search, budget: Budget) -> str:
    """How near the fastest plan came."""
    timed_ms = [plan.structure.latency_ms for plan in looked.plans if plan.structure]
    if not timed_ms:
        return "no plan could be timed"
    return (
        f"of {len(looked.plans)} plans the fastest takes {min(timed_ms):.3f} ms at {budget.percentile} "
        f"of {budget.max_latency_ms:g} ms"
    )
