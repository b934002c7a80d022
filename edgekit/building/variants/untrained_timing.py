"""Networks that are not trained yet, timed on the board beside the network as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.compress import LowRankPlan, factorized
from edgekit.errors import StageError
from edgekit.model import export_onnx
from edgekit.plan import Structure
from edgekit.types import Candidate, Estimate, Signature, Variant

__all__ = ["UntrainedTiming", "time_factors", "time_untrained", "untrained_factors"]


@dataclass(frozen=True)
class UntrainedTiming:
    """Untrained structures by name, timed against the network as it is, in the build `lead`.

    `is_estimate`: the board is not here, and nothing was measured.
    """

    lead: Candidate
    original: Structure
    structures: Mapping[str, Structure]
    is_estimate: bool = False

    def is_faster(self, name: str, *, clearly: bool) -> bool:
        """Whether its median is below the network's own; `clearly`: their intervals are apart."""
        mine, its = self.structures.get(name), self.original.median
        if mine is None or mine.median is None or its is None:
            return False
        return mine.median.high < its.low if clearly else mine.median.value < its.value

    def why_not_faster(self, name: str, text: str, *, clearly: bool = True) -> str:
        """The two times, in words; "" where it is faster."""
        if self.is_faster(name, clearly=clearly):
            return ""
        mine, its = self.structures.get(name), self.original.median
        if mine is None or mine.median is None or its is None:
            return f"{text} could not be timed"
        told = "by the estimates" if self.is_estimate else "as measured"
        return (
            f"not faster {told}: with {text} the network takes {ms_text(mine.median)}, as it is {ms_text(its)} "
            f"(median, {self.lead.backend} {self.lead.precision})"
        )


def time_factors(context: MakerContext, lead: Candidate, plans: Mapping[str, LowRankPlan]) -> UntrainedTiming:
    """The networks of the plans, untrained, beside the original. Raises StageError where that has no latency."""
    return time_untrained(
        context, lead, [untrained_factors(context, name, plan) for name, plan in plans.items()]
    )


def time_untrained(context: MakerContext, lead: Candidate, variants: Sequence[Variant]) -> UntrainedTiming:
    """The networks, by their ids, beside the original. Raises StageError where that has no latency."""
    structures = context.probe([context.original, *variants], context.original, [lead])
    by_name = {structure.variant: structure for structure in structures}
    original = by_name.pop(context.original.id, None)
    if original is None:
        raise StageError("probe", "the latency of the network as it is could not be measured")
    is_estimate = context.measurements[lead.id].origin == "estimated"
    return UntrainedTiming(lead, original, by_name, is_estimate)


def untrained_factors(context: MakerContext, name: str, plan: LowRankPlan) -> Variant:
    """The network with the plan's layers factorized, as ONNX."""
    train, example = context.splits.train, example_inputs(context.source)
    assert train is not None

    def write(path: Path) -> Signature:
        return export_onnx(factorized(context.model.load(), example, plan, train), example, path)

    parts = {"model": context.model.ref.digest, "train_data": train.digest, "low_rank": plan.to_json()}
    return make_variant(context.cache, name, "low-rank", ORIGINAL, "untrained factors", parts, write)


def ms_text(latency: Estimate) -> str:
    """The value with its interval."""
    return f"{latency.value:.4g} ms [{latency.low:.4g}, {latency.high:.4g}]"
