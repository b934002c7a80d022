"""The winner (or, where none meets the budget, the nearest) as a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from edgekit._version import __version__
from edgekit.building.ladder import Attempt
from edgekit.building.workshop import Workshop
from edgekit.bundle import Golden, write_bundle
from edgekit.types import Accuracy, Measurement, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hand_over"]

GOLDEN_SAMPLES = 8


def hand_over(
    shop: Workshop, variant: Variant, attempt: Attempt, measurement: Measurement, claim: Accuracy | None
) -> None:
    """Write OUT/bundle. Raises OutputError when the folder cannot be written."""
    request = shop.setting.request
    samples = shop.samples(shop.setting.splits.validation, variant.signature)
    inputs = (np.load(path, mmap_mode="r") for path in samples.files.inputs.values())
    golden = Golden(first(inputs), first(shop.outputs(attempt.artifact, samples).values()))
    write_bundle(
        request.out / "bundle",
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
