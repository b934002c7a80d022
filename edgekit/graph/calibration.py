"""The samples that a quantizer may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CalibrationData"]


@dataclass(frozen=True)
class CalibrationData:
    """Calibration samples as a stream that can be started again.

    `batches()` gives tuples with one array [N, ...] per network input, in the network's order; N may differ
    between batches. `samples` is the total of N, `digest` the SHA-256 of the content.
    """

    batches: Callable[[], Iterator[tuple[NDArray[Any], ...]]]
    samples: int
    digest: str

    def chunks(self, size: int, limit: int | None = None) -> Iterator[tuple[NDArray[Any], ...]]:
        """The stream cut into pieces of at most `size` samples, ending after `limit` samples."""
        left = self.samples if limit is None else limit
        for arrays in self.batches():
            count = min(len(arrays[0]), left)
            for start in range(0, count, size):
                yield tuple(array[start : min(start + size, count)] for array in arrays)
            left -= count
            if left <= 0:
                return
