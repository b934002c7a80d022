"""Samples that reach a network as they are stored: pixels, and values that are not around 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.images import ImageFolderSource
from edgekit.data.stored import StoredSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.base import DataSource
    from edgekit.types import Signature

__all__ = ["multiplied_pixels", "unnormalised", "unscaled_pixels"]

LARGEST_MEAN, LARGEST_STD = 1.0, 2.0
"""Samples that were normalised before they were stored lie within; pixels as shares of 1 do too."""

LOOKED_AT = 64


def unscaled_pixels(source: DataSource, signature: Signature) -> bool:
    """Whether images of 0 to 255 go into the network's first input, a float one, without scale, mean or std.

    Images: files of a folder, or samples [N, C, H, W] that are stored as uint8.
    """
    spec = signature.inputs[0]
    if not _as_stored(source, signature):
        return False
    # Masks and one-bit pictures are 0 or 1 already.
    return len(spec.shape) == 4 and _holds_bytes(source) and _largest(source) > 1


def unnormalised(source: DataSource, signature: Signature) -> tuple[float, float] | None:
    """Mean and standard deviation of what goes into the first input, a float one, as it is stored, where that is far.

    None where a scale, mean or std is given, or where the values lie around 0 as they are.
    """
    if not _as_stored(source, signature):
        return None
    values = source.take(_some(source, LOOKED_AT)).inputs[0]
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return (mean, std) if abs(mean) > LARGEST_MEAN or std > LARGEST_STD else None


def _as_stored(source: DataSource, signature: Signature) -> bool:
    """Whether floats go into the network without scale, mean or std."""
    given = source.preprocess
    unchanged = given.scale == 1 and not given.mean and not given.std
    return unchanged and np.dtype(signature.inputs[0].dtype).kind == "f"


def multiplied_pixels(source: DataSource) -> bool:
    """Whether images become larger than 255: a scale of 1/255 was given, by which they are divided."""
    given = source.preprocess
    return 0 < given.scale < 1 and _holds_bytes(source) and _largest(source) > 255


def _largest(source: DataSource) -> float:
    """The largest value of the first input over a few samples."""
    return float(source.take(_some(source, 4)).inputs[0].max())


def _some(source: DataSource, count: int) -> NDArray[np.int64]:
    """Indices of at most `count` samples, from the first to the last."""
    return np.unique(np.linspace(0, len(source) - 1, count, dtype=np.int64))


def _holds_bytes(source: DataSource) -> bool:
    if isinstance(source, ImageFolderSource):
        return True
    return isinstance(source, StoredSource) and source.inputs[0].dtype == np.uint8
