"""How narrow a network has to be: untrained structures, made like pruning would begin them and timed on the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.building.cache import Cache
from edgekit.building.candidates.exporting import Exporter
from edgekit.building.candidates.timing import Timer
from edgekit.building.given import GivenModel
from edgekit.building.samples import SplitFiles
from edgekit.building.variants.original import ORIGINAL, example_inputs, make_variant
from edgekit.compress import PruneConfig, apply_plan, propose
from edgekit.data import DataSource, Split
from edgekit.errors import StageError
from edgekit.model import export_onnx
from edgekit.plan import FRACTIONS, Structure, candidate_id
from edgekit.progress import Reporter
from edgekit.types import Artifact, Candidate, Measurement, Percentile, Signature, Variant

if TYPE_CHECKING:
    import torch

__all__ = ["PROBE_SHARE", "time_structures", "untrained_structures"]

PROBE_SHARE = 0.5
"""Of a candidate's timed runs, for each structure."""


def structure_parts(
    model_digest: str, config: PruneConfig, train_digest: str, fraction: float
) -> dict[str, Any]:
    """All that an untrained structure depends on."""
    return {
        "model": model_digest,
        "config": msgspec.to_builtins(config),
        "train_data": train_digest,
        "probe": fraction,
    }


def untrained_structures(
    cache: Cache,
    reporter: Reporter,
    model: GivenModel,
    source: DataSource,
    train: Split,
    config: PruneConfig,
    fractions: Sequence[float] = FRACTIONS,
) -> list[Variant]:
    """Narrower networks as pruning would begin them, one for each of `fractions` of the MACs."""
    loaded: list[torch.nn.Module] = []  # once, and only if some structure is not in the store
    variants = []
    with reporter.step("Probing narrower structures") as step:
        for done, fraction in enumerate(fractions):
            step.advance(done / len(fractions), f"{fraction:.0%} of the MACs")

            def write(path: Path, fraction: float = fraction) -> Signature:
                if not loaded:
                    loaded.append(model.load())
                example = example_inputs(source)
                plan = propose(loaded[0], example, config, fraction, train)
                return export_onnx(apply_plan(loaded[0], example, plan), example, path)

            parts = structure_parts(model.ref.digest, config, train.digest, fraction)
            name = f"structure-{round(100 * fraction)}"
            variants.append(
                make_variant(cache, name, "pruned", ORIGINAL, "untrained structure", parts, write)
            )
    return variants


def like_lead(variant: Variant, lead: Candidate) -> Candidate:
    """A structure's candidate that is built as a leading one."""
    identity = candidate_id(variant.id, lead.backend, lead.precision, device=lead.device)
    return Candidate(identity, variant.id, lead.backend, lead.precision, lead.recipe, lead.device)


def time_structures(
    exporter: Exporter,
    timer: Timer,
    samples_for: Callable[[Signature], SplitFiles],
    reporter: Reporter,
    percentile: Percentile,
    variants: Sequence[Variant],
    original: Variant,
    leads: Sequence[Candidate],
) -> list[Structure]:
    """Each structure exported like each of the leading candidates, all timed against each other.

    Latency hangs on shapes, not on weights. What a runtime cannot export has no latency. Raises StageError when none
    can export any.
    """
    made: list[tuple[Variant, Candidate, Artifact]] = []
    problem: StageError | None = None
    asked = [(variant, lead, like_lead(variant, lead)) for variant, lead in product(variants, leads)]
    with reporter.step("Exporting narrower structures") as step:
        export = exporter.exported_ahead([(variant, like) for variant, _, like in asked])
        for done, (variant, lead, like) in enumerate(asked):
            step.advance(done / len(asked), like.id)
            try:
                made.append((variant, lead, export(variant, like)))
            except StageError as error:
                problem = error
    if problem is not None and not made:
        raise problem
    artifacts = [artifact for _, _, artifact in made]
    timed = timer.time(artifacts, samples_for(original.signature), PROBE_SHARE * timer.timed_s)
    structures = []
    for variant, lead, artifact in made:
        measured = timed[artifact.candidate]
        if isinstance(measured, Measurement) and measured.latency is not None:
            structures.append(
                Structure(
                    fraction=variant.cost.macs / original.cost.macs,
                    latency_ms=measured.latency.at(percentile).high,
                    size_bytes=artifact.size_bytes,
                    peak_memory_bytes=measured.peak_memory_bytes,
                    like=lead.id,
                    variant=variant.id,
                    median=measured.latency.p50,
                )
            )
    return structures
