"""Sparse variants: zeros among weights, trained only where a runtime of the board gets faster or smaller by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgekit.building.candidates.sparse_gain import why_no_gain
from edgekit.building.given import GivenModel
from edgekit.building.request import BuildRequest
from edgekit.building.variants.base import Made, MadeVariant, MakerContext
from edgekit.building.variants.distilled import job_for, train_pruned
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.building.variants.pruned import LEAST_TRAINING_S, leaders, never_trained
from edgekit.building.variants.training import seconds_left
from edgekit.building.variants.untrained_timing import time_untrained
from edgekit.compress import PruneConfig, SparsePlan, sparse_plan, sparsified
from edgekit.model import export_onnx
from edgekit.plan import is_stored_sparse
from edgekit.runtimes import RUNTIMES
from edgekit.types import Candidate, Rejection, Signature, Variant

__all__ = ["SparseMaker", "refuse_unfit_sparsity"]

WHAT = "sparsity"


class SparseMaker:
    """Makes weights zero while the network is trained with the original as the teacher."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        if context.request.sparsity is None:
            return None
        never = never_trained(context.model, context.splits, WHAT, "its weights cannot be trained to be zero")
        if never is not None:
            return never
        if not leaders(context.attempts, context.measurements, context.request.budget):
            return Rejection(WHAT, "no build of the original could be measured")
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried(WHAT)
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when nothing has a latency or the training fails."""
        request = context.request
        if request.sparsity is None:
            return
        reasons = {attempt.candidate: useless(context, attempt.candidate) for attempt in context.attempts}
        useful = [candidate for candidate, rejection in reasons.items() if rejection is None]
        if not useful:
            yield from dict.fromkeys(rejection for rejection in reasons.values() if rejection is not None)
            return
        plan = plan_for(request, context.model)
        if request.budget.max_size_bytes is None:
            slower = why_slower(context, plan, useful)
            if slower:
                yield Rejection(WHAT, slower)
                return
        job = replace(job_for(context, PruneConfig(), 1.0), sparsity=plan.to_json())
        sparsity = plan.sparsity
        name = "sparse-2of4" if sparsity.pattern == "2:4" else f"sparse-{100 * sparsity.ratio:g}"
        for made in train_pruned(context, job, name):
            if isinstance(made, MadeVariant):
                told = (*made.history, zeros_told(context.original, made.variant))
                made = replace(made, history=told, useless=partial(useless, context))
            yield made


def useless(context: MakerContext, candidate: Candidate) -> Rejection | None:
    """Why such a build of a sparse network is no better than one of a dense network; None where it may be.

    Faster, or of a smaller file where the budget asks for one.
    """
    sparsity = context.request.sparsity
    assert sparsity is not None
    if context.request.budget.max_size_bytes is not None and is_stored_sparse(candidate):
        return None
    network = Path(context.original.onnx_path)
    reason = why_no_gain(context.target, context.features, network, candidate, sparsity)
    return Rejection(f"{sparsity.words} in {RUNTIMES[candidate.backend].title}", reason) if reason else None


def plan_for(request: BuildRequest, model: GivenModel) -> SparsePlan:
    """The zeros that the request asks for. Raises UserError where no layer can hold them."""
    assert request.sparsity is not None
    return sparse_plan(model.load(), request.sparsity, request.train.saliency, request.train.rewind)


def why_slower(context: MakerContext, plan: SparsePlan, useful: list[Candidate]) -> str:
    """The two times, where none of the builds is faster with the zeros, untrained; "" where one may be.

    Nothing is asked while the board is not here: the estimates know of zeros by an assumption alone.
    """
    attempts = [attempt for attempt in context.attempts if attempt.candidate in useful]
    leads = leaders(attempts, context.measurements, context.request.budget)
    if not leads or context.measurements[leads[0].candidate.id].origin == "estimated":
        return ""
    untrained = untrained_zeros(context, plan)
    slower = []
    for lead in leads:
        timing = time_untrained(context, lead.candidate, [untrained])
        why = timing.why_not_faster(untrained.id, plan.sparsity.words)
        if not why:
            return ""
        slower.append(why)
    return "; ".join(slower)


def untrained_zeros(context: MakerContext, plan: SparsePlan) -> Variant:
    """The network with the plan's zeros at once, as ONNX."""
    train, example = context.splits.train, example_inputs(context.source)
    assert train is not None

    def write(path: Path) -> Signature:
        return export_onnx(sparsified(context.model.load(), plan, train), example, path)

    parts = {"model": context.model.ref.digest, "train_data": train.digest, "sparsity": plan.to_json()}
    variant = make_variant(
        context.cache, "sparse-untrained", "sparse", ORIGINAL, "untrained zeros", parts, write
    )
    return replace(variant, sparsity=plan.sparsity)


def zeros_told(before: Variant, after: Variant) -> str:
    """How many zeros the exported file has, and what that is worth: its size, and that of both compressed."""
    import zlib

    import onnx

    from edgekit.graph.zeros import count_zeros

    zeros, weights = count_zeros(onnx.load(after.onnx_path))
    contents = [Path(variant.onnx_path).read_bytes() for variant in (before, after)]
    (was, packed_was), (now, packed) = (
        (len(content) / 1e6, len(zlib.compress(content)) / 1e6) for content in contents
    )
    return (
        f"exported: {zeros / max(1, weights):.1%} of {weights:,} weights are zero; the ONNX file has {now:.2f} MB "
        f"(before {was:.2f}), compressed by zlib {packed:.2f} MB (before {packed_was:.2f}): zeros make a file smaller "
        "only where it is compressed, or stored without them"
    )


def refuse_unfit_sparsity(request: BuildRequest, model: GivenModel) -> None:
    """Some layer has to be able to hold the zeros that are asked for. Raises UserError with the layers' names."""
    if request.sparsity is not None:
        plan_for(request, model)
