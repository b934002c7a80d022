"""Preprocessed samples as .npy files, one per network input, for a board that has no code of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.board.arrays import new_array
from edgekit.data import check_values
from edgekit.data.base import Batch
from edgekit.errors import DataError
from edgekit.types import TensorSpec

__all__ = ["SampleFiles", "write_samples"]


@dataclass(frozen=True)
class SampleFiles:
    """`inputs`: input name → .npy file [count, ...]; `first`: the first sample, batch 1; `labels` [count, ...]."""

    inputs: dict[str, Path]
    first: dict[str, NDArray[np.generic]]
    labels: NDArray[np.generic] | None
    count: int


def write_samples(
    batches: Iterable[Batch], inputs: Sequence[TensorSpec], folder: Path, *, count: int
) -> SampleFiles:
    """Write `count` samples; memory holds one batch. Raises DataError on other numbers or shapes, and
    on values that an input's type does not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {spec.name: folder / f"input-{index}.npy" for index, spec in enumerate(inputs)}
    files: list[NDArray[np.generic]] = []
    labels: list[NDArray[np.generic]] = []
    done = 0
    for batch in batches:
        if len(batch.inputs) != len(inputs):
            raise DataError(
                f"{len(batch.inputs)} arrays per sample", allowed=f"{len(inputs)}, as the network takes"
            )
        size = min(len(batch.inputs[0]), count - done)
        if not files:
            files = [
                _create(spec, array, paths[spec.name], count)
                for spec, array in zip(inputs, batch.inputs, strict=True)
            ]
        for spec, file, array in zip(inputs, files, batch.inputs, strict=True):
            check_values(array[:size], spec, f"samples {done} to {done + size - 1}")
            file[done : done + size] = array[:size]
        if batch.labels is not None:
            labels.append(batch.labels[:size])
        done += size
        if done == count:
            break
    if done != count or not count:
        raise DataError(f"{done} samples came, {count} were announced")
    first = {spec.name: np.array(file[:1]) for spec, file in zip(inputs, files, strict=True)}
    return SampleFiles(paths, first, np.concatenate(labels) if labels else None, count)


def _create(spec: TensorSpec, array: NDArray[np.generic], path: Path, count: int) -> NDArray[np.generic]:
    """An empty file for one input. Raises DataError when samples do not have the network's shape."""
    wanted = spec.shape[1:]
    fits = len(array.shape) == len(spec.shape) and all(
        want is None or want == has for want, has in zip(wanted, array.shape[1:], strict=True)
    )
    if not fits:
        raise DataError(
            f"samples of shape {list(array.shape[1:])}",
            allowed=f"{['any' if dim is None else dim for dim in wanted]} for input {spec.name}",
            remedy="see --input-layout, --resize and --crop",
        )
    made: NDArray[np.generic] = new_array(str(path), np.dtype(spec.dtype), (count, *array.shape[1:]))
    return made
