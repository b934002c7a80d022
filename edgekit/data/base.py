"""The seam of data: what every source of samples offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.types import Preprocess

__all__ = ["Batch", "DataSource"]


@dataclass(frozen=True)
class Batch:
    """`inputs`: one array [N, ...] per network input, in its order. `labels`: of these [N, ...], or None."""

    inputs: tuple[NDArray[np.generic], ...]
    labels: NDArray[np.generic] | None


class DataSource(Protocol):
    """Samples by index. Memory does not grow with the length: implementations map files or read on demand."""

    @property
    def name(self) -> str:
        """Where the samples come from, for people."""

    @property
    def digest(self) -> str:
        """SHA-256 over the content (samples, labels, preprocessing)."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in label order, where the source knows them."""

    @property
    def parts(self) -> Mapping[str, range]:
        """Splits that the source itself declares ("train", "val", "test"); empty where it declares none."""

    @property
    def preprocess(self) -> Preprocess:
        """What `take` does to stored samples of the first input; a bundle does the same to what it is given."""

    @property
    def labelled(self) -> bool:
        """Whether `take` gives labels."""

    @property
    def labels(self) -> NDArray[np.generic] | None:
        """All labels [len(self), ...] without reading samples; None where there are none.

        Class numbers int64 [N], maps of class numbers [N, ...] of any integer type, or targets float32 [N, ...].
        """

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> Batch:
        """Samples `indices` (int64 [N]) after preprocessing: float32 NCHW, or whole numbers (token ids)."""
