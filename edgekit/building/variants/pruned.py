"""Pruned variants: how narrow is asked of the board first, with untrained structures; then one network is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from edgekit.building.given import GivenModel
from edgekit.building.request import BuildRequest
from edgekit.building.values import Attempt
from edgekit.building.variants.base import Made, MakerContext
from edgekit.building.variants.distilled import job_for, train_pruned, trained_already, with_opened
from edgekit.building.variants.probing import untrained_structures
from edgekit.building.variants.training import (
    prune_config,
    seconds_left,
)
from edgekit.compress import (
    PruneConfig,
)
from edgekit.data import Splits
from edgekit.errors import StageError
from edgekit.hardware import Target
from edgekit.plan import FRACTIONS, Structure, least_need_bytes, shortfall, widest_that_fits
from edgekit.types import Budget, Candidate, Measurement, Rejection, Variant

__all__ = [
    "LEAST_TRAINING_S",
    "PrunedMaker",
    "fits_nowhere",
    "leaders",
    "may_fit_pruned",
    "never_pruned",
    "never_trained",
    "untaught",
    "with_energy",
    "with_free_memory",
]

LEAST_TRAINING_S = 30.0
EVERY = 4  # of the widths are those that every runtime is asked at


class PrunedMaker:
    """Prunes the original to the width that the budget asks for, and trains it with the original as the teacher."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        request = context.request
        never = never_pruned(request, context.model, context.splits)
        if never is not None:
            return never
        if context.choice.verdict == "MEETS" and not request.budget.fastest:
            return Rejection(
                "pruning",
                f"the unpruned {context.choice.winner} meets the budget; pruning would cost accuracy",
            )
        if fits_nowhere(context.target, context.original):
            return None
        if not leaders(context.attempts, context.measurements, request.budget):
            return Rejection("pruning", "no build of the unpruned network could be measured")
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried("pruning")
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when no structure has a latency or the training fails."""
        if fits_nowhere(context.target, context.original):
            yield from self._made_for_memory(context)
            return
        budget = with_free_memory(context.request.budget, context.measurements.values())
        leads = [attempt.candidate for attempt in leaders(context.attempts, context.measurements, budget)]
        multiple = max(context.target.channel_multiple(lead.precision) for lead in leads)
        config = prune_config(context.request.train, multiple)
        fraction: float | None = None
        if not budget.fastest:
            structures = with_energy(probed(context, config, leads), context.measurements, budget)
            pick = widest_that_fits(structures, budget)
            if pick is None:
                narrowest = min(structures, key=lambda structure: (structure.fraction, structure.latency_ms))
                yield Rejection(
                    "pruning",
                    f"even {narrowest.fraction:.0%} of the MACs need {shortfall(narrowest, budget)}",
                    "a smaller network, a faster board, or a larger budget",
                )
                return
            fraction = pick.fraction
        job = job_for(context, config, fraction)
        store = context.cache.store
        job = trained_already(job, lambda other: store.holds("pruned", with_opened(other, store).key_parts()))
        yield from train_pruned(context, job)

    def _made_for_memory(self, context: MakerContext) -> Iterator[Made]:
        """The widest network of which some precision fits into what one model may use of the board's memory.

        No build of the original can run there, so nothing is probed: what counts are weights and activations.
        """
        target, train = context.target, context.splits.train
        assert train is not None
        multiple = max(target.channel_multiple(precision) for precision in target.precisions)
        config = prune_config(context.request.train, multiple)
        variants = untrained_structures(
            context.cache, context.reporter, context.model, context.source, train, config
        )
        fitting = [variant for variant in variants if not fits_nowhere(target, variant)]
        if not fitting:
            least = min(least_need_bytes(target, variant) for variant in variants)
            yield Rejection(
                "pruning",
                f"even its narrowest structure needs {least:,} bytes; one model may use {target.model_bytes:,} on "
                f"{target.name}",
                "a smaller network, or a board with more memory",
            )
            return
        macs = max(variant.cost.macs for variant in fitting)
        job = job_for(context, config, macs / context.original.cost.macs)
        store = context.cache.store
        yield from train_pruned(
            context, trained_already(job, lambda other: store.holds("pruned", other.key_parts()))
        )


def fits_nowhere(target: Target, variant: Variant) -> bool:
    """Whether no precision of it fits into what one model may use of the board's memory."""
    return target.model_bytes is not None and least_need_bytes(target, variant) > target.model_bytes


def may_fit_pruned(target: Target, variant: Variant) -> bool:
    """Whether the narrowest structure that is tried might fit, where weights and activations shrink as the MACs do."""
    return (
        target.model_bytes is None or min(FRACTIONS) * least_need_bytes(target, variant) <= target.model_bytes
    )


def with_free_memory(budget: Budget, measurements: Iterable[Measurement]) -> Budget:
    """The budget with no more memory than the board had free; as it is where memory is not limited or not told."""
    free = [
        measurement.available_bytes
        for measurement in measurements
        if measurement.available_bytes and measurement.origin in ("device", "emulated")
    ]
    if budget.max_memory_bytes is None or not free:
        return budget
    return replace(budget, max_memory_bytes=min(budget.max_memory_bytes, *free))


def with_energy(
    structures: Sequence[Structure], measurements: Mapping[str, Measurement], budget: Budget
) -> list[Structure]:
    """The structures with the energy that they would take at the power of the build of the original that they are like.

    Only for picking a width: what is trained is measured.
    """
    told = []
    for structure in structures:
        lead = measurements.get(structure.like)
        if lead is not None and lead.energy is not None and lead.latency is not None:
            share = structure.latency_ms / lead.latency.at(budget.percentile).high
            structure = replace(structure, energy_mj=lead.energy.per_inference_mj.high * share)
        told.append(structure)
    return told


def never_pruned(request: BuildRequest, model: GivenModel, splits: Splits) -> Rejection | None:
    """Why nothing is pruned whatever is measured; None where it may be."""
    if not request.prune:
        return Rejection("pruning", "left out by the request")
    return never_trained(model, splits, "pruning", "its layers cannot be made narrower")


def never_trained(model: GivenModel, splits: Splits, what: str, cannot: str) -> Rejection | None:
    """Why `what` is not made from this network; None where it may be.

    `cannot`: the end of the sentence on a file that is no torch network.
    """
    kind = model.ref.kind
    if kind in ("onnx", "pt2"):
        return Rejection(
            what,
            f"a .{kind} file is quantized and measured as it is: {cannot}",
            "give the network as net.py:factory with --weights",
        )
    return untaught(splits, what)


def untaught(splits: Splits, what: str) -> Rejection | None:
    """Why `what` is not trained where any network may teach; None where it may be."""
    if splits.train is not None:
        return None
    return Rejection(
        what, "there are no training samples to train a smaller network with", "give a train part"
    )


def leaders(
    attempts: Sequence[Attempt], measurements: Mapping[str, Measurement], budget: Budget
) -> tuple[Attempt, ...]:
    """Of each runtime and device the build of the original that is nearest to the limits, the nearest of all first.

    Limits on time, size, memory and energy, among those within the limit on accuracy, or among all where none is. Its
    precision is the one that structures are probed at.
    """

    def rank(attempt: Attempt) -> tuple[float, float]:
        """The fullest of the limits, then milliseconds."""
        measured = measurements[attempt.candidate.id]
        latency_ms = measured.latency.at(budget.percentile).value if measured.latency else float("inf")
        used = (
            (latency_ms, budget.max_latency_ms),
            (attempt.artifact.size_bytes, budget.max_size_bytes),
            (measured.peak_memory_bytes, budget.max_memory_bytes),
            (measured.energy.per_inference_mj.high if measured.energy else 0.0, budget.max_energy_mj),
        )
        return max((value / limit for value, limit in used if limit), default=0.0), latency_ms

    best: dict[tuple[str, str], Attempt] = {}
    timed = [
        attempt
        for attempt in attempts
        if attempt.candidate.id in measurements and measurements[attempt.candidate.id].latency
    ]
    within = [
        attempt
        for attempt in timed
        if budget.max_drop is None or attempt.accuracy.drop.value <= budget.max_drop
    ]
    for attempt in sorted(within or timed, key=rank):
        best.setdefault((attempt.candidate.backend, attempt.candidate.device), attempt)
    return tuple(best.values())


def contenders(
    structures: Sequence[Structure], leads: Sequence[Candidate], budget: Budget
) -> tuple[Candidate, ...]:
    """Of `leads`, the first and those that are best at some width in something that the budget limits."""
    quantities: list[Callable[[Structure], float]] = [lambda structure: structure.latency_ms]
    if budget.max_size_bytes is not None:
        quantities.append(lambda structure: structure.size_bytes)
    if budget.max_memory_bytes is not None:
        quantities.append(lambda structure: structure.peak_memory_bytes)
    best = {leads[0].id}
    for fraction in {structure.fraction for structure in structures}:
        alike = [structure for structure in structures if structure.fraction == fraction]
        best |= {min(alike, key=quantity).like for quantity in quantities}
    return tuple(lead for lead in leads if lead.id in best)


def probed(context: MakerContext, config: PruneConfig, leads: Sequence[Candidate]) -> list[Structure]:
    """Structures with what they take, in each runtime that is best at some width.

    Which runtime leads may change on the way down: all are asked at a few widths, the contenders at every one.
    Raises StageError when nothing is known of any.
    """
    train = context.splits.train
    assert train is not None
    untrained = untrained_structures(
        context.cache, context.reporter, context.model, context.source, train, config
    )
    structures: list[Structure] = []
    if len(leads) > 1:
        structures = context.probe(untrained[::EVERY], context.original, leads)
        leads = contenders(structures, leads, context.request.budget)
    structures += context.probe(untrained, context.original, leads)
    if not structures:
        raise StageError("probe", "the latency of no narrower structure is known")
    return structures
