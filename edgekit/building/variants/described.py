"""What a smaller network is called, by the job that makes it."""

from __future__ import annotations

from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.job import PruneJob
from edgekit.compress import LowRankPlan, PrunePlan, SparsePlan, depth_text
from edgekit.types import VariantKind

__all__ = ["done_to", "kind_of", "name_stem", "taught_by"]

LONGEST_RANKS = 60  # characters of a description; the variant's history has all


def taught_by(context: MakerContext) -> str:
    """Who teaches, for people."""
    named = [context.teachers[spec].name for spec, _ in context.request.teachers]
    return ", ".join(named) or "the original"


def kind_of(job: PruneJob) -> VariantKind:
    """What kind of network the job makes."""
    if job.sparsity:
        return "sparse"
    return "student" if job.student else "low-rank" if job.low_rank else "pruned"


def name_stem(job: PruneJob) -> str:
    """What the network's id begins with."""
    if job.trains_another:
        return "student" if job.student else "lowrank"
    return "planned" if job.plan else "shallow" if job.dropped or job.merged else "pruned"


def done_to(context: MakerContext, job: PruneJob) -> str:
    """What a description begins with: all that was done but for channels."""
    if job.student:
        assert context.student is not None
        return f"{context.student.name}: "
    if job.sparsity:
        return f"{SparsePlan.from_json(job.sparsity).sparsity.words}: "
    if job.low_rank:
        text = LowRankPlan.from_json(job.low_rank).text()
        return f"low rank {text if len(text) <= LONGEST_RANKS else text[:LONGEST_RANKS] + '…'}: "
    planned = PrunePlan.from_json(job.plan) if job.plan else None
    changed = depth_text(planned.dropped, planned.merged) if planned else depth_text(job.dropped, job.merged)
    return f"{changed}: " if changed else ""
