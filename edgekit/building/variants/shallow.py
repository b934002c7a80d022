"""Shallow variants: blocks dropped and convolutions merged as the request says, trained by the original."""

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

__all__ = ["ShallowMaker", "refuse_unknown_blocks"]


class ShallowMaker:
    """Drops the blocks that the request names, or the least influential ones, merges others, and distils the rest."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        request = context.request
        if not (request.drop or request.merge):
            return None
        what = "dropping blocks" if request.drop else "merging convolutions"
        never = never_pruned(request, context.model, context.splits)
        if never is not None:
            return replace(never, what=what)
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried(what)
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when the training fails."""
        request = context.request
        if not (request.drop or request.merge):
            return
        job = job_for(context, PruneConfig(), 1.0)
        merged = tuple(dict.fromkeys(request.merge))
        yield from train_pruned(context, replace(job, dropped=asked_blocks(context), merged=merged))


def asked_blocks(context: MakerContext) -> tuple[str, ...]:
    """The names of the request, without repetition; of `auto:N` those N whose loss moves the outputs least."""
    if not context.request.drop:
        return ()
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
    """Every name has to be a block that can be dropped or merged, and `auto` may not ask for more than there are.

    Raises UserError, and StageError where the network cannot be traced.
    """
    if not (request.drop or request.merge):
        return
    example = example_inputs(source)
    count = asked_count(request) if request.drop else None
    if count is not None and request.merge:
        raise UserError(
            f"{request.drop[0]} chooses blocks to drop, beside blocks that are to be merged",
            remedy="name those to drop",
        )
    named = () if count is not None else request.drop
    for name in request.merge:
        outer = [block for block in named if name == block or name.startswith(f"{block}.")]
        if outer:
            raise UserError(
                f"{name} is to be merged, and is in {outer[0]}, which is to be dropped",
                remedy="say one of both",
            )
    propose_depth(model.load(), example, named, request.merge)
    if count is None:
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
