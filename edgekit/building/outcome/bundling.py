"""The winner (or, where none meets the budget, the nearest) as a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._version import __version__
from edgekit.building.candidates.ladder import Attempt
from edgekit.building.context import Workshop
from edgekit.bundle import BoardIdentity, CandidateFacts, Golden, Offer, write_bundle, write_candidates
from edgekit.types import Accuracy, Measurement, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hand_over", "hand_over_candidates"]

GOLDEN_SAMPLES = 8


def hand_over(
    shop: Workshop, variant: Variant, attempt: Attempt, measurement: Measurement, claim: Accuracy | None
) -> None:
    """Write OUT/bundle. Raises OutputError when the folder cannot be written."""
    folder = shop.setting.request.out / "bundle"
    write_bundle(folder, **parts(shop, variant, attempt, measurement, claim))


def hand_over_candidates(
    shop: Workshop,
    networks: Mapping[str, Variant],
    attempts: Sequence[Attempt],
    measurements: Mapping[str, Measurement],
    claim: Accuracy | None,
) -> None:
    """Write OUT/bundle with several candidates for a board that is not here. `claim` is the first one's."""
    setting = shop.setting
    offers = []
    for place, attempt in enumerate(attempts):
        candidate, measurement = attempt.candidate, measurements[attempt.candidate.id]
        facts = CandidateFacts(
            id=candidate.id,
            folder=f"candidates/{candidate.id}",
            variant=candidate.variant,
            backend=candidate.backend,
            precision=candidate.precision,
            device=candidate.device,
            estimated_ms=measurement.latency.p50 if measurement.latency else None,
            metric=attempt.accuracy.metric,
            value=attempt.accuracy.value.value,
            drop=attempt.accuracy.drop.value,
            size_bytes=attempt.artifact.size_bytes,
        )
        claimed = claim if place == 0 else None
        bundle = parts(shop, networks[candidate.variant], attempt, measurement, claimed)
        offers.append(Offer(facts, bundle))
    if offers:
        identity = setting.target.identity
        write_candidates(
            setting.request.out / "bundle",
            offers,
            target=setting.target.name,
            identity=BoardIdentity(
                setting.target.architecture,
                identity.models,
                identity.cpus,
                identity.all_of,
                identity.any_of,
                identity.none_of,
                identity.accelerator,
            ),
            budget=setting.request.budget,
            threads=setting.request.threads,
            edgekit_version=__version__,
        )


def parts(
    shop: Workshop, variant: Variant, attempt: Attempt, measurement: Measurement, claim: Accuracy | None
) -> dict[str, Any]:
    """What a bundle of one candidate is made of."""
    request = shop.setting.request
    samples = shop.samples(shop.setting.splits.validation, variant.signature)
    inputs = (np.load(path, mmap_mode="r") for path in samples.files.inputs.values())
    golden = Golden(first(inputs), first(shop.outputs(attempt.artifact, samples).values()))
    return dict(  # noqa: C408
        artifact=attempt.artifact,
        variant=variant,
        candidate=attempt.candidate,
        measurement=measurement,
        target=shop.setting.target.name,
        threads=request.threads,
        preprocess=request.preprocess,
        classes=shop.setting.source.classes or (),
        golden=golden,
        edgekit_version=__version__,
        claim=claim,
    )


def first(arrays: Iterable[NDArray[np.generic]]) -> tuple[NDArray[np.generic], ...]:
    """The first few samples of each array, in memory."""
    return tuple(np.array(array[:GOLDEN_SAMPLES]) for array in arrays)
