"""The source behind .npz files, arrays, built-in sets and Python factories: rows and labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.base import Batch
from edgekit.data.preprocess import preprocess_samples
from edgekit.errors import DataError
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.rows import Rows

__all__ = ["StoredSource", "check_rows", "combined_digest"]


@dataclass(frozen=True)
class StoredSource:
    """Samples stored as rows, one `Rows` per network input. Preprocessing applies to the first input only."""

    name: str
    digest: str
    inputs: tuple[Rows, ...]
    labels: NDArray[np.generic] | None = None
    preprocess: Preprocess = field(default_factory=Preprocess)
    parts: Mapping[str, range] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    @property
    def always_finite(self) -> bool:
        """Whether the stored type has no NaN: the values need no check."""
        return all(rows.dtype.kind in "iub" for rows in self.inputs)

    def __len__(self) -> int:
        return self.inputs[0].shape[0]

    def take(self, indices: NDArray[np.int64]) -> Batch:
        """Samples `indices` after preprocessing; labels as they are kept, or None."""
        first = preprocess_samples(self.inputs[0].take(indices), self.preprocess)
        others = (preprocess_samples(rows.take(indices), Preprocess()) for rows in self.inputs[1:])
        labels = None if self.labels is None else self.labels[indices]
        return Batch((first, *others), labels)


def combined_digest(content: str, preprocess: Preprocess, labels: NDArray[np.generic] | None = None) -> str:
    """SHA-256 over the content's digest, the preprocessing, and what the labels became."""
    digest = hashlib.sha256(f"{content} {preprocess!r}".encode())
    if labels is not None:
        digest.update(f" {labels.dtype} {labels.shape}".encode())
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


def check_rows(name: str, inputs: Sequence[Rows], labels: NDArray[np.generic] | None) -> None:
    """Raises DataError for empty data, types that are no numbers, and lengths that differ."""
    for rows in inputs:
        if rows.dtype.kind not in "iufb":
            raise DataError(f"{name}: the samples are of type {rows.dtype}", allowed="numbers")
        if len(rows.shape) == 0 or math.prod(rows.shape) == 0:
            raise DataError(
                f"{name} is empty: the samples are {list(rows.shape)}", allowed="[N, ...] with N above 0"
            )
        if rows.shape[0] != inputs[0].shape[0]:
            raise DataError(f"{name}: inputs of different lengths, {inputs[0].shape[0]} and {rows.shape[0]}")
    if labels is not None and len(labels) != inputs[0].shape[0]:
        raise DataError(
            f"{name}: {inputs[0].shape[0]} samples but {len(labels)} labels", remedy="x and y need one length"
        )
