"""How narrow a network has to be: untrained structures, timed on the board or estimated for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.building.candidates.estimates import estimate_structures
from edgekit.building.candidates.timing import time_artifacts
from edgekit.building.context import Workshop
from edgekit.building.variants.original import ORIGINAL, example_inputs, load_original, make_variant
from edgekit.building.variants.training import network_parts, prune_config, train_split
from edgekit.compress import apply_plan, propose
from edgekit.errors import StageError
from edgekit.model import export_onnx
from edgekit.plan import FRACTIONS, Structure, candidate_id
from edgekit.types import Candidate, Measurement, Signature, Variant

if TYPE_CHECKING:
    import torch

__all__ = ["probe"]

PROBE_SECONDS = 1.5


def probe(shop: Workshop, original: Variant, lead: Candidate) -> list[Structure]:
    """Measure untrained structures at the leading precision: latency hangs on shapes, not on weights.

    Without the board it is estimated. Raises StageError when neither gives a latency.
    """
    variants = untrained(shop, lead)
    structures = (
        estimate_structures(shop, variants, original, lead)
        if shop.setting.absent
        else time_structures(shop, variants, original, lead)
    )
    if not structures:
        raise StageError("probe", "the latency of no narrower structure is known")
    return structures


def untrained(shop: Workshop, lead: Candidate) -> list[Variant]:
    """Narrower networks as pruning would begin them, one for each of FRACTIONS."""
    config = prune_config(shop, lead)
    module: list[torch.nn.Module] = []  # loaded once, and only if some structure is not in the store
    variants = []
    with shop.reporter.step("Probing narrower structures") as step:
        for done, fraction in enumerate(FRACTIONS):
            step.advance(done / len(FRACTIONS), f"{fraction:.0%} of the MACs")

            def write(path: Path, fraction: float = fraction) -> Signature:
                if not module:
                    module.append(load_original(shop))
                example = example_inputs(shop)
                plan = propose(module[0], example, config, fraction, train_split(shop))
                return export_onnx(apply_plan(module[0], example, plan), example, path)

            parts = {**network_parts(shop, config), "probe": fraction}
            name = f"structure-{round(100 * fraction)}"
            variants.append(make_variant(shop, name, "pruned", ORIGINAL, "untrained structure", parts, write))
    return variants


def time_structures(
    shop: Workshop, variants: Sequence[Variant], original: Variant, lead: Candidate
) -> list[Structure]:
    """Each structure exported like the leading candidate, timed against the others."""
    artifacts = []
    with shop.reporter.step("Exporting narrower structures") as step:
        for done, variant in enumerate(variants):
            step.advance(done / len(variants), variant.id)
            identity = candidate_id(variant.id, lead.backend, lead.precision)
            like = Candidate(identity, variant.id, lead.backend, lead.precision, lead.recipe, lead.device)
            artifacts.append(shop.export(variant, like))
    timed = time_artifacts(shop, original, artifacts, PROBE_SECONDS)
    percentile = shop.setting.request.budget.percentile
    structures = []
    for variant, artifact in zip(variants, artifacts, strict=True):
        measured = timed[artifact.candidate]
        if isinstance(measured, Measurement) and measured.latency is not None:
            structures.append(
                Structure(
                    fraction=variant.cost.macs / original.cost.macs,
                    latency_ms=measured.latency.at(percentile).high,
                    size_bytes=artifact.size_bytes,
                    peak_memory_bytes=measured.peak_memory_bytes,
                )
            )
    return structures
