"""Samples to compare on, from what the command line names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.compare.compare import CompareSamples
from edgekit.data import open_source
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["samples_of"]

BATCH = 32


def samples_of(data: str, preprocess: Preprocess, limit: int, seed: int, cache: Path) -> CompareSamples:
    """At most `limit` samples, drawn by the seed from the source's test or val part, or all of it. Raises DataError."""
    source = open_source(data, preprocess, cache)
    parts = source.parts
    name = "test" if parts.get("test") else "val" if parts.get("val") else ""
    chosen = np.asarray(parts[name] if name else range(len(source)), dtype=np.int64)
    if len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, limit, replace=False))

    def batches() -> Iterator[tuple[tuple[NDArray[np.generic], ...], NDArray[np.generic] | None]]:
        for begin in range(0, len(chosen), BATCH):
            batch = source.take(chosen[begin : begin + BATCH])
            yield batch.inputs, batch.labels

    return CompareSamples(
        batches, len(chosen), f"{len(chosen)} samples of {source.name}" + (f" ({name})" if name else "")
    )
