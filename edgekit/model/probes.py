"""Inputs that tell whether an exported network still decides by values, as torch's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import ModelError
from edgekit.model.forward import Arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["made_up", "single_samples"]


def single_samples(example: Arrays) -> list[Arrays]:
    """Each sample of `example` (one array [N, ...] per input) as a batch of its own. Raises ModelError without any."""
    if not example or any(array.ndim == 0 or len(array) == 0 for array in example):
        raise ModelError("there is no sample to export the network with")
    return [
        tuple(np.ascontiguousarray(array[index : index + 1]) for array in example)
        for index in range(min(map(len, example)))
    ]


def made_up(sample: Arrays) -> list[Arrays]:
    """Inputs of the sample's kind with another content, the first of them of all inputs' kinds.

    Floats: normal noise of the sample's spread. Whole numbers keep to the values of the sample, since they may be
    indices: in another order; with zeros in the second half of the last axis, as padding makes a sentence short; and
    with no zero in it, where the sample has some. The network need not take them: a sample of zeros may be nothing to
    it.
    """
    generator = np.random.default_rng(0)
    probes = [tuple(_other(array, generator) for array in sample)]
    if any(array.dtype.kind in "iu" for array in sample):
        probes += [tuple(map(_shorter, sample)), tuple(_longer(array, generator) for array in sample)]
    return [
        probe
        for probe in probes
        if not all(np.array_equal(ours, theirs) for ours, theirs in zip(probe, sample, strict=True))
    ]


def _other(array: NDArray[np.generic], generator: np.random.Generator) -> NDArray[np.generic]:
    if array.dtype.kind == "f":
        spread, mean = float(array.std()) or 1.0, float(array.mean())
        return (generator.standard_normal(array.shape) * spread - mean).astype(array.dtype)
    return generator.permutation(array.reshape(-1)).reshape(array.shape)


def _shorter(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype.kind not in "iu" or array.ndim < 2:
        return array
    shorter = np.array(array)
    shorter[..., (array.shape[-1] + 1) // 2 :] = 0
    return shorter


def _longer(array: NDArray[np.generic], generator: np.random.Generator) -> NDArray[np.generic]:
    values = array[array != 0]
    if array.dtype.kind not in "iu" or not values.size:
        return array
    longer = np.array(array)
    longer[array == 0] = generator.choice(values, int(np.count_nonzero(array == 0)))
    return longer
