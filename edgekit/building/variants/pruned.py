"""Pruned variants: how narrow is asked of the board first, with untrained structures; then one network is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.values import Attempt
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.building.variants.probing import untrained_structures
from edgekit.building.variants.training import (
    STEP_BATCHES,
    at_least,
    prune_config,
    seconds_left,
    training_config,
    training_deadline,
    validator,
)
from edgekit.compress import (
    IterateConfig,
    PruneConfig,
    PruneOutcome,
    TrainConfig,
    fits,
    load_pruned,
    prune_iteratively,
    save_pruned,
)
from edgekit.errors import StageError, UserError
from edgekit.model import export_onnx
from edgekit.model.state import not_finite
from edgekit.plan import shortfall, widest_that_fits
from edgekit.reference import locate_reference
from edgekit.result import TrainedStep
from edgekit.types import Budget, Failure, Measurement, Rejection, Signature

__all__ = ["PrunedMaker"]

DEFAULT_LIMIT = 0.01  # where the user set no accuracy limit, pruning still needs one to stop at
COARSER = (1, 2, 4, 8)  # multiples of this target's channel multiple that a stored network may have
LEAST_TRAINING_S = 30.0
SLACK, SLACK_TO_FRACTION = 0.03, 0.10
"""How far above the accuracy limit a step may be before pruning ends: its short training leaves much to the final one.

More where the budget asks for a fraction: stopping short of it misses the budget for certain (ResNet-20 at half of its
MACs: 4.4 points below after a step, within 1 point after the final training).
"""


@dataclass(frozen=True)
class PruneJob:
    """One pruned network, by all that its weights depend on. `limit`: the largest accuracy drop, a fraction.

    `fraction`: of the original's MACs to stop at; None: the limit alone ends it. `code`: digests of the user's own
    loss and step. A time limit cuts the training short, so it counts too.
    """

    model_digest: str
    train_digest: str
    validation_digest: str
    config: PruneConfig
    train: TrainConfig
    steps: IterateConfig
    limit: float
    fraction: float | None
    time_limit_s: float | None
    code: tuple[str, ...]

    def key_parts(self) -> dict[str, Any]:
        """Every field."""
        parts: dict[str, Any] = msgspec.to_builtins(self)
        return parts


class PrunedMaker:
    """Prunes the original to the width that the budget asks for, and trains it with the original as the teacher."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        request, kind = context.request, context.model.ref.kind
        if not request.prune:
            return Rejection("pruning", "left out by the request")
        if kind in ("onnx", "pt2"):
            return Rejection(
                "pruning",
                f"a .{kind} file is quantized and measured as it is: its layers cannot be made narrower",
                "give the network as net.py:factory with --weights",
            )
        if context.splits.train is None:
            return Rejection(
                "pruning", "there are no training samples to train a pruned network with", "a train part"
            )
        if seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return Rejection("pruning", "the time limit leaves no room for training", "a longer --time-limit")
        if context.choice.verdict == "MEETS" and not request.budget.fastest:
            return Rejection(
                "pruning",
                f"the unpruned {context.choice.winner} meets the budget; pruning would cost accuracy",
            )
        if leading(context.attempts, context.measurements, request.budget) is None:
            return Rejection("pruning", "no build of the unpruned network could be measured")
        return None

    def make(self, context: MakerContext) -> Iterator[MadeVariant | Rejection | Failure]:
        """See VariantMaker. Raises StageError when no structure has a latency or the training fails."""
        budget = context.request.budget
        lead = leading(context.attempts, context.measurements, budget)
        train = context.splits.train
        assert lead is not None
        assert train is not None
        multiple = context.target.channel_multiple(lead.candidate.precision)
        config = prune_config(context.request.train, multiple)
        fraction: float | None = None
        if not budget.fastest:
            untrained = untrained_structures(
                context.cache, context.reporter, context.model, context.source, train, config
            )
            structures = context.probe(untrained, context.original, lead.candidate)
            if not structures:
                raise StageError("probe", "the latency of no narrower structure is known")
            pick = widest_that_fits(structures, budget)
            if pick is None:
                narrowest = min(structures, key=lambda structure: structure.fraction)
                yield Rejection(
                    "pruning",
                    f"even {narrowest.fraction:.0%} of the MACs need {shortfall(narrowest, budget)}",
                    "a smaller network, a faster board, or a larger budget",
                )
                return
            fraction = pick.fraction
        job = job_for(context, config, fraction)
        store = context.cache.store
        job = trained_already(job, lambda other: store.holds("pruned", other.key_parts()))
        yield train_pruned(context, job)


def leading(
    attempts: Sequence[Attempt], measurements: Mapping[str, Measurement], budget: Budget
) -> Attempt | None:
    """The build of the original that is nearest to the limits on time, size and memory; accurate ones first.

    Its precision is the one that structures are probed at.
    """
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

    def utilisation(attempt: Attempt) -> tuple[float, float]:
        """The fullest of the limits, then milliseconds."""
        measured = measurements[attempt.candidate.id]
        latency_ms = measured.latency.at(budget.percentile).value if measured.latency else float("inf")
        used = (
            (latency_ms, budget.max_latency_ms),
            (attempt.artifact.size_bytes, budget.max_size_bytes),
            (measured.peak_memory_bytes, budget.max_memory_bytes),
        )
        return max((value / limit for value, limit in used if limit), default=0.0), latency_ms

    return min(within or timed, key=utilisation, default=None)


def job_for(context: MakerContext, config: PruneConfig, fraction: float | None) -> PruneJob:
    """The request's training, at least as long as its data set needs."""
    request, train = context.request, context.splits.train
    assert train is not None
    options, limit = request.train, request.budget.max_drop
    return PruneJob(
        model_digest=context.model.ref.digest,
        train_digest=train.digest,
        validation_digest=context.splits.validation.digest,
        config=config,
        train=training_config(options, request.seed, len(train)),
        steps=IterateConfig(
            step_epochs=at_least(STEP_BATCHES, options.step_epochs, len(train), options.batch_size),
            slack=SLACK if fraction is None else SLACK_TO_FRACTION,
        ),
        limit=DEFAULT_LIMIT if limit is None else limit,
        fraction=fraction,
        time_limit_s=request.time_limit_s,
        code=tuple(locate_reference(spec, UserError).digest for spec in (options.loss, options.step) if spec),
    )


def trained_already(job: PruneJob, holds: Callable[[PruneJob], bool]) -> PruneJob:
    """The job of a network that another target's build has trained and that suits this target too.

    Channels in multiples of 32 are in multiples of 16 and 8 as well, so what a coarser target trained serves a finer
    one. Without one, the job as it is.
    """
    for factor in COARSER:
        coarser = replace(job, config=replace(job.config, round_to=job.config.round_to * factor))
        if holds(coarser):
            return coarser
    return job


def train_pruned(context: MakerContext, job: PruneJob) -> MadeVariant:
    """Prune in steps, fine-tune with the original as the teacher, export. Raises StageError."""
    cache, model, train = context.cache, context.model, context.splits.train
    assert train is not None
    example = example_inputs(context.source)
    key = cache.store.key("pruned", job.key_parts())

    def make(folder: Path) -> Mapping[str, Any]:
        module = model.load()
        if train.labelled and job.train.loss is None and job.train.step is None and not fits(train, module):
            context.reporter.say(
                "the labels fit no output: pruned networks learn from the original alone (see --loss)"
            )
        with context.reporter.step("Pruning and distilling") as step:
            outcome = prune_iteratively(
                module,
                example,
                train,
                validator(context.splits.validation, module),
                job.config,
                job.train,
                limit=job.limit,
                target_fraction=job.fraction,
                steps=job.steps,
                progress=step,
                folder=cache.store.scratch(key),
                deadline=training_deadline(context.time_limit),
            )
        broken = not_finite(outcome.module)
        if broken:
            raise StageError(
                "finetune", f"the trained network cannot be used: {broken}", "a lower --learning-rate"
            )
        save_pruned(folder / "pruned.safetensors", outcome.module, outcome.plan)
        return {
            "history": history_lines(outcome),
            "fraction": outcome.plan.fraction,
            "steps": msgspec.to_builtins(trained_steps(outcome)),
        }

    entry = cache.entry("pruned", job.key_parts(), make)

    def write(path: Path) -> Signature:
        module, _ = load_pruned(entry.path / "pruned.safetensors", model.load(), example)
        return export_onnx(module, example, path)

    fraction = entry.meta["fraction"]
    name = f"pruned-{round(100 * fraction)}"
    description = f"{fraction:.0%} of the MACs, distilled from the original"
    variant = make_variant(cache, name, "pruned", ORIGINAL, description, {"pruned": key}, write)
    steps = msgspec.convert(entry.meta["steps"], tuple[TrainedStep, ...])
    return MadeVariant(variant, tuple(entry.meta["history"]), steps)


def trained_steps(outcome: PruneOutcome) -> tuple[TrainedStep, ...]:
    """The steps as values."""
    return tuple(
        TrainedStep(record.kind, record.plan.fraction, record.accuracy, record.accepted)
        for record in outcome.history
    )


def history_lines(outcome: PruneOutcome) -> list[str]:
    """One line per step, why pruning ended, and what kept its width."""
    lines = [
        f"{record.kind}: {record.plan.fraction:.0%} of the MACs, accuracy {record.accuracy:.2%} "
        f"(drop {100 * record.drop:+.2f} points), {record.seconds:.0f} s"
        + ("" if record.accepted else ", too much")
        for record in outcome.history
    ]
    return [*lines, outcome.reason, *([f"at full width: {outcome.kept}"] if outcome.kept else ())]
