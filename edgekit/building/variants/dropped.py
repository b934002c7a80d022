"""Shallow variants: without the blocks that the request drops, trained with the original as the teacher."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from edgekit.building.cache import Cache
from edgekit.building.given import GivenModel
from edgekit.building.request import DROP_AUTO, BuildRequest
from edgekit.building.variants.base import Made, MakerContext
from edgekit.building.variants.distilled import job_for, train_pruned
from edgekit.building.variants.original import example_inputs
from edgekit.building.variants.pruned import LEAST_TRAINING_S, never_pruned
from edgekit.building.variants.training import seconds_left
from edgekit.compress import (
    PruneConfig,
    SensitivityConfig,
    droppable_blocks,
    measure_blocks,
    propose_depth,
    sensitivity_parts,
)
from edgekit.data import DataSource, Split
from edgekit.errors import UserError
from edgekit.progress import Reporter
from edgekit.types import Rejection

__all__ = ["DroppedMaker", "refuse_unknown_blocks"]


class DroppedMaker:
    """Drops the blocks that the request names, or the least influential ones, and distils what is left."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        request = context.request
        if not request.drop:
            return None
        never = never_pruned(request, context.model, context.splits)
        if never is not None:
            return replace(never, what="dropping blocks")
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried("dropping blocks")
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when the training fails."""
        if not context.request.drop:
            return
        job = job_for(context, PruneConfig(), 1.0)
        yield from train_pruned(context, replace(job, dropped=asked_blocks(context)))


def asked_blocks(context: MakerContext) -> tuple[str, ...]:
    """The names of the request, without repetition; of `auto:N` those N whose loss moves the outputs least."""
    count = asked_count(context.request)
    if count is None:
        return tuple(dict.fromkeys(context.request.drop))
    influence = block_influence(
        context.cache, context.reporter, context.model, context.source, context.splits.calibration
    )
    return tuple(sorted(influence, key=lambda name: (influence[name], name))[:count])


def block_influence(
    cache: Cache, reporter: Reporter, model: GivenModel, source: DataSource, samples: Split
) -> dict[str, float]:
    """Each droppable block's harm when it alone is bypassed, on calibration samples."""
    config = SensitivityConfig.for_samples(len(samples))

    def make(_: Any) -> dict[str, Any]:
        with reporter.step("Asking each block for its influence") as step:
            harms = measure_blocks(model.load(), example_inputs(source), samples, config, progress=step)
        return {"influence": {block.name: block.harm for block in harms}}

    parts = sensitivity_parts(model.ref.digest, samples.digest, PruneConfig(), config)
    influence: dict[str, float] = cache.entry("influence", parts, make).meta["influence"]
    return influence


def refuse_unknown_blocks(request: BuildRequest, model: GivenModel, source: DataSource) -> None:
    """Every name has to be a block that can be dropped, and `auto` may not ask for more than there are.

    Raises UserError, and StageError where the network cannot be traced.
    """
    if not request.drop:
        return
    example, count = example_inputs(source), asked_count(request)
    if count is None:
        propose_depth(model.load(), example, request.drop)
        return
    blocks = droppable_blocks(model.load(), example)
    if count > len(blocks):
        raise UserError(
            f"{DROP_AUTO}{count} asks for more blocks than can be dropped",
            allowed=f"up to {len(blocks)}: {', '.join(block.name for block in blocks)}"
            if blocks
            else "none here",
        )


def asked_count(request: BuildRequest) -> int | None:
    """How many blocks `auto:N` asks for; None where blocks are named. Raises UserError for another number."""
    (first, *others) = request.drop
    if not first.startswith(DROP_AUTO):
        return None
    count = first.removeprefix(DROP_AUTO)
    if others or not count.isdecimal() or int(count) < 1:
        raise UserError(f"drop is {','.join(request.drop)!r}", allowed="names of blocks, or auto:2 alone")
    return int(count)
