"""A pipeline: stages of the request in order, each on the network that the one before it gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgekit.building.given import GivenModel
from edgekit.building.pipeline import (
    DropOptions,
    LowRankOptions,
    MergeOptions,
    PipelineStage,
    PruneOptions,
    SparseOptions,
)
from edgekit.building.request import BuildRequest, read_blocks, read_low_rank, read_sparsity
from edgekit.building.variants.base import Made, MadeVariant, MakerContext, VariantMaker
from edgekit.building.variants.distilled import job_for, train_pruned
from edgekit.building.variants.in_turn import PrunedInTurn, beginning_with, made_in_turn
from edgekit.building.variants.low_rank import LowRankMaker, refuse_unknown_ranks
from edgekit.building.variants.pruned import (
    LEAST_TRAINING_S,
    PrunedMaker,
    leaders,
    never_pruned,
    never_trained,
    untaught,
)
from edgekit.building.variants.qat import QatMaker
from edgekit.building.variants.shallow import ShallowMaker, refuse_unknown_blocks
from edgekit.building.variants.sparse import SparseMaker, refuse_unfit_sparsity
from edgekit.building.variants.student import StudentMaker
from edgekit.building.variants.teaching import teaching_by_its_file
from edgekit.building.variants.training import prune_config, seconds_left
from edgekit.data import DataSource
from edgekit.errors import StageError, UserError
from edgekit.types import Failure, Rejection

__all__ = ["PipelineMaker", "refuse_unfit_stages"]


class PipelineMaker:
    """Makes a network per stage. One that is not worth it is left out and told, and the next goes on without it."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        if all(stage.method == "qat" for stage in context.request.pipeline):
            return None
        if context.student is not None:  # all stages are about it
            return untaught(context.splits, "the pipeline")
        return never_trained(context.model, context.splits, "the pipeline", "it cannot be made smaller")

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. What stops a stage is told, and ends the pipeline."""
        stages = context.request.pipeline
        if context.student is not None:
            context = replace(context, model=teaching_by_its_file(context.model, context.original))
        last: MadeVariant | None = None
        for stage in stages:
            made: MadeVariant | None = None
            is_over = False
            asked = asked_of(stage, context)
            if stage.method == "qat" and last is not None:
                asked = replace(asked, attempts=context.became(last.variant.id))
            for result in made_in_turn(stage.name, maker_of(stage, last), asked):
                yield result
                if isinstance(result, MadeVariant):
                    made = result
                is_over = is_over or isinstance(result, Failure) or is_late(context, result)
            rest = stages[stage.number :]
            if is_over and rest:
                yield Rejection(
                    ", ".join(later.name for later in rest), f"not tried: {stage.name} did not end well"
                )
            if is_over:
                return
            if made is not None and rest:
                last, context = made, beginning_with(context, made)


def is_late(context: MakerContext, result: Made) -> bool:
    """Whether it says that the time limit has left a stage out or cut it short."""
    limit = context.time_limit
    return limit is not None and isinstance(result, Rejection) and result.reason.endswith(limit.told)


def asked_of(stage: PipelineStage, context: MakerContext) -> MakerContext:
    """The context with the request as the stage has it: its own options, its method alone."""
    request = replace(
        context.request, train=stage.training(context.request.train), drop=(), merge=(), low_rank=None
    )
    if stage.teachers:
        request = replace(request, teachers=stage.teachers)
    options = stage.options
    if isinstance(options, DropOptions):
        request = replace(request, drop=read_blocks(options.blocks))
    if isinstance(options, MergeOptions):
        request = replace(request, merge=read_blocks(options.blocks, "merge"))
    if isinstance(options, LowRankOptions):
        request = replace(request, low_rank=read_low_rank(options.ranks))
    if isinstance(options, SparseOptions):
        request = replace(request, sparsity=read_sparsity(options.sparsity))
    return replace(context, request=replace(request, qat="always" if stage.method == "qat" else "never"))


def maker_of(stage: PipelineStage, last: MadeVariant | None) -> VariantMaker:
    """Who makes the stage's network out of the `last` one; None: the user's own."""
    if isinstance(stage.options, PruneOptions) and stage.options.macs is not None:
        return PrunedTo(stage.options.macs)
    if stage.method == "prune" and last is not None:
        return PrunedInTurn(last)
    makers: dict[str, type[VariantMaker]] = {
        "distil": TaughtMaker,
        "drop": ShallowMaker,
        "merge": ShallowMaker,
        "prune": PrunedMaker,
        "low-rank": LowRankMaker,
        "sparse": SparseMaker,
        "qat": AskedQatMaker,
    }
    return makers[stage.method]()


class TaughtMaker(StudentMaker):
    """A student that no pruning follows but that of a later stage."""

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker."""
        yield from self.taught(context)


class AskedQatMaker(QatMaker):
    """Training for integers that says when there is nothing to train."""

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker."""
        name, is_tried = context.original.id, False
        for made in super().make(context):
            is_tried = True
            yield made
        if not is_tried:
            yield Rejection(
                "qat", f"no runtime whose integers can be trained for has an INT8 build of {name}"
            )


@dataclass(frozen=True)
class PrunedTo:
    """Prunes to a share of the MACs that is asked for, whatever it loses."""

    macs: float

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried("pruning")
        return never_pruned(context.request, context.model, context.splits)

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when the training fails."""
        leads = leaders(context.attempts, context.measurements, context.request.budget)
        precisions = {lead.candidate.precision for lead in leads} or set(context.target.precisions)
        multiple = max(map(context.target.channel_multiple, precisions))
        job = job_for(context, prune_config(context.request.train, multiple), self.macs)
        yield from train_pruned(context, replace(job, limit=1.0))


def refuse_unfit_stages(
    request: BuildRequest, student: GivenModel | None, model: GivenModel, source: DataSource
) -> None:
    """Blocks and ranks that the network of a stage cannot have, as far as it is known before anything is trained.

    That is the student, or the model, as long as no stage has made it narrower. Raises UserError.
    """
    network = model if student is None else student
    for stage in request.pipeline:
        options = stage.options
        try:
            if isinstance(options, DropOptions):
                refuse_unknown_blocks(replace(request, drop=read_blocks(options.blocks)), network, source)
            if isinstance(options, MergeOptions):
                merge = read_blocks(options.blocks, "merge")
                refuse_unknown_blocks(replace(request, merge=merge), network, source)
            if isinstance(options, LowRankOptions):
                refuse_unknown_ranks(replace(request, low_rank=read_low_rank(options.ranks)), network, source)
            if isinstance(options, SparseOptions):
                refuse_unfit_sparsity(replace(request, sparsity=read_sparsity(options.sparsity)), network)
        except UserError as error:
            came, allowed, remedy = error.parts
            raise UserError(f"{stage.name}: {came}", allowed=allowed, remedy=remedy) from error
        except StageError as error:
            raise UserError(f"{stage.name}: {error.cause}") from error
        if stage.method != "distil":
            return
