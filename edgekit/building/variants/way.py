"""What plans are made by: the build that leads, the table of its layers' times, and the problem at the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.building.code import code_digest
from edgekit.building.layer_times import LayerTimes, timed_precision
from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.basis import PlanBasis, plan_basis
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.building.variants.proposing import TimedPlan
from edgekit.building.variants.pruned import fits_nowhere, leaders, with_energy, with_free_memory
from edgekit.building.variants.sensitivity_task import measured_elsewhere
from edgekit.building.variants.training import prune_config
from edgekit.compress import PrunePlan, apply_plan, propose_all_merged
from edgekit.errors import StageError
from edgekit.latency import LatencyTable
from edgekit.latency.unit import UnitPrecision
from edgekit.model import export_onnx
from edgekit.plan import Structure
from edgekit.plan.solving import PlanLimits
from edgekit.planning import Assembled, unchanged
from edgekit.types import Budget, Candidate, Signature, Variant

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["Way", "found_way", "timed"]


@dataclass(frozen=True)
class Way:
    """`lead`: of the original's builds; `ratio`: measured by predicted time of the network as it is."""

    lead: Candidate
    table: LatencyTable
    basis: PlanBasis
    budget: Budget
    ratio: float
    is_absent: bool


def found_way(context: MakerContext) -> Way:
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
    table = with_merged(context, times, lead, precision, table)
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
        partial(measured_elsewhere, context),
    )
    basis = replace(basis, assembled=with_artifact_size(context, basis.assembled, lead, budget))
    measured = context.measurements[lead.id]
    is_absent = measured.origin == "estimated"
    assert measured.latency is not None
    # The median: a burst in its percentile would ask for far too small a network, and each round corrects the rest.
    seen_ms = measured.latency.p50.value
    ratio = 1.0 if is_absent else seen_ms / unchanged(basis.assembled.problem).latency_ms
    return Way(lead, table, basis, budget, ratio, is_absent)


def with_merged(
    context: MakerContext, times: LayerTimes, lead: Candidate, precision: UnitPrecision, table: LatencyTable
) -> LatencyTable:
    """The table with what the network's chains of convolutions take as one each; of a given table, as it is.

    Raises StageError where they cannot be timed.
    """
    if times.runtime is not None:
        return table
    example = example_inputs(context.source)

    def find(_: Path) -> dict[str, str]:
        try:
            return {"plan": propose_all_merged(context.model.load(), example).to_json()}
        except StageError:  # a network that cannot be traced is told of where its groups are looked for
            return {"plan": PrunePlan().to_json()}

    parts = {"model": context.model.ref.digest, "compress": code_digest(("compress",))}
    plan = PrunePlan.from_json(context.cache.entry("chains", parts, find).meta["plan"])
    if not plan.merged:
        return table
    variant = untrained(context, context.model.load, example, "all-merged", plan)
    merged = times.table_for(Path(variant.onnx_path), lead.backend, precision)
    # Each network has the table that it was timed by, the original's perhaps from before.
    return table.with_timed((*merged.timed, *table.timed))


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


def timed(context: MakerContext, way: Way, plans: Sequence[TimedPlan]) -> Mapping[str, Structure]:
    """What the untrained structures take on the board; of a board that is not here, their time by the table."""
    basis = way.basis
    variants = [untrained(context, basis.load, basis.example, plan.id, plan.pruning) for plan in plans]
    structures = context.probe(variants, context.original, [way.lead])
    if way.is_absent:
        predicted_ms = {plan.id: plan.predicted_ms for plan in plans}
        structures = [replace(row, latency_ms=predicted_ms[row.variant]) for row in structures]
    structures = with_energy(structures, context.measurements, way.budget)
    return {structure.variant: structure for structure in structures}


def untrained(
    context: MakerContext, load: Callable[[], torch.nn.Module], example: Arrays, name: str, plan: PrunePlan
) -> Variant:
    """The network after the plan, as ONNX."""

    def write(path: Path) -> Signature:
        return export_onnx(apply_plan(load(), example, plan), example, path)

    parts = {"model": context.model.ref.digest, "plan": plan.to_json()}
    return make_variant(context.cache, name, "pruned", ORIGINAL, "untrained plan", parts, write)
