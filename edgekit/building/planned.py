"""`edgekit plan`: which widths and blocks would be chosen for a latency, by a table of times. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from edgekit.building.context import Context
from edgekit.building.opening import in_run
from edgekit.building.request import BuildRequest
from edgekit.building.variants.basis import PlanBasis, plan_basis
from edgekit.building.variants.original import original_variant
from edgekit.building.variants.training import prune_config
from edgekit.errors import StageError, UserError
from edgekit.hardware import Machine, Target
from edgekit.latency import LatencyTable, MeasuredOn
from edgekit.latency.unit import UnitPrecision
from edgekit.plan.solving import Allocation, PlanLimits, Proposal, proposals
from edgekit.planning import AttentionChoice, PlanChoice, attention_choices, plan_choices, unchanged
from edgekit.progress import Reporter

__all__ = ["PlannedNetwork", "PlannedProposal", "plan_network"]


@dataclass(frozen=True)
class PlannedProposal:
    """A proposal with the reasons for its choices, and what it leaves of each attention.

    `pruning`: it as a `PrunePlan`, in its own JSON.
    """

    proposal: Proposal
    choices: tuple[PlanChoice, ...]
    pruning: str
    attentions: tuple[AttentionChoice, ...] = ()


@dataclass(frozen=True)
class PlannedNetwork:
    """What would be done to a network.

    `original`: the network as it is, predicted; `floor`: see `Sensitivity`; `kept`: layers that stay whole → why;
    `notes`: sentences on the prediction.
    """

    target: str
    measured_on: MeasuredOn
    precision: UnitPrecision
    limits: PlanLimits
    original: Allocation
    floor: float
    proposals: tuple[PlannedProposal, ...]
    kept: Mapping[str, str]
    notes: tuple[str, ...]


def plan_network(
    request: BuildRequest, table: LatencyTable, precision: UnitPrecision, reporter: Reporter
) -> PlannedNetwork:
    """Plans for the request's latency by the times of `table`; harm is measured on calibration samples, and stored.

    Raises UserError for input that cannot be used, a network that the table does not tell the time of, and one that
    cannot be pruned.
    """
    return in_run(request, reporter, partial(_planned, table=table, precision=precision))


def _planned(context: Context, *, table: LatencyTable, precision: UnitPrecision) -> PlannedNetwork:
    setting = context.setting
    request, model, source = setting.request, setting.model, setting.source
    budget, target = request.budget, setting.board.target
    place = table.measured_on
    if target.runtime(place.runtime) is None:
        raise UserError(
            f"the table's times are of {place.runtime}, which {target.name} does not run",
            allowed=", ".join(runtime.name for runtime in target.runtimes),
        )
    limits = PlanLimits(latency_ms=budget.max_latency_ms, size_bytes=budget.max_size_bytes)
    original = original_variant(
        context.cache, context.executor, context.reporter, model, source, setting.splits, request.input_shapes
    )
    config = prune_config(request.train, target.channel_multiple(precision))
    try:
        basis = plan_basis(
            context.cache, context.reporter, model, source, setting.splits, original, table, precision, config,
            limits,
        )  # fmt: skip
        problem = basis.assembled.problem
        with context.reporter.step("Solving"):
            made = proposals(problem, basis.solve)
        plans = tuple(planned_proposal(basis, proposal) for proposal in made)
    except StageError as error:
        raise UserError(f"{model.name} cannot be planned: {error.cause}", remedy=error.remedy) from error
    return PlannedNetwork(
        target.name,
        place,
        precision,
        limits,
        unchanged(problem),
        basis.harm.floor,
        plans,
        basis.assembled.kept,
        (*elsewhere(target, place), *basis.assembled.notes),
    )


def planned_proposal(basis: PlanBasis, proposal: Proposal) -> PlannedProposal:
    """A proposal in full. Raises StageError where it cannot be made of the network."""
    plan = proposal.solution.plan
    choices = plan_choices(basis.assembled.problem, plan)
    attentions = attention_choices(basis.coupling, basis.assembled.kept, choices)
    return PlannedProposal(proposal, choices, basis.pruning(plan).to_json(), attentions)


def elsewhere(target: Target, place: MeasuredOn) -> tuple[str, ...]:
    """That the table was measured on another machine than the target is, and why; empty where it is the target."""
    facts = {"machine": place.machine, "arch": place.arch, "cpu": place.cpu, "features": place.features}
    # A table is of a CPU and tells no accelerators: the target's own is taken as seen.
    misfits = target.misfits(Machine.from_facts({**facts, "accelerators": [target.identity.accelerator]}))
    if not misfits:
        return ()
    return (f"the table was not measured on {target.name}, so no latency here is that board's: {misfits[0]}",)
