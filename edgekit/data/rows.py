"""Samples on disk or in memory, read by row number.

Rows are read with plain reads instead of memory maps: pages of a map stay in the process's resident memory
once touched, so that reading more samples would look like (and at a limit, be) using more memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayRows", "FileRows", "JoinedRows", "Rows", "chunks"]


class Rows(Protocol):
    """N rows of one dtype and one shape."""

    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        """Rows `indices` [M] as a new array [M, ...]."""


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array in memory, or of the caller's own memory map."""

    array: NDArray[np.generic]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        return np.asarray(self.array[indices])


@dataclass(frozen=True)
class FileRows:
    """Rows that lie one after another in a file (C order), from byte `offset` on."""

    path: Path
    offset: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        if len(indices) and (indices.min() < 0 or indices.max() >= self.shape[0]):
            raise IndexError(f"rows {indices.min()} to {indices.max()} of {self.shape[0]}")
        result = np.empty((len(indices), *self.shape[1:]), self.dtype)
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        buffer = result.reshape(-1).view(np.uint8)
        try:
            with open(self.path, "rb") as file:
                for start, stop in _runs(indices):
                    file.seek(self.offset + int(indices[start]) * size)
                    part = buffer[start * size : stop * size]
                    if file.readinto(part.data) != len(part):
                        raise DataError(f"{self.path} ends early", remedy="was it changed while it was read?")
        except OSError as problem:
            raise DataError(f"{self.path} cannot be read: {problem.strerror}") from problem
        return result


def _runs(indices: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Positions [start, stop) of consecutive row numbers."""
    if len(indices) == 0:
        return
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    edges = [0, *breaks.tolist(), len(indices)]
    yield from itertools.pairwise(edges)


class JoinedRows:
    """Several rows of equal dtype and row shape as one, in order."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self._parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self._starts[-1]), *self._parts[0].shape[1:])

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.generic]:
        result = np.empty((len(indices), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(owner):
            chosen = owner == number
            result[chosen] = self._parts[number].take(indices[chosen] - self._starts[number])
        return result


def chunks(length: int, size: int) -> Iterator[NDArray[np.int64]]:
    """0 … length-1 in pieces of at most `size`."""
    for start in range(0, length, size):
        yield np.arange(start, min(start + size, length), dtype=np.int64)
