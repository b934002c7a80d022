"""Pixels that reach a network as they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.images import ImageFolderSource
from edgekit.data.stored import StoredSource

if TYPE_CHECKING:
    from edgekit.data.base import DataSource
    from edgekit.types import Signature

__all__ = ["multiplied_pixels", "unscaled_pixels"]


def unscaled_pixels(source: DataSource, signature: Signature) -> bool:
    """Whether images of 0 to 255 go into the network's first input, a float one, without scale, mean or std.

    Images: files of a folder, or samples [N, C, H, W] that are stored as uint8.
    """
    given, spec = source.preprocess, signature.inputs[0]
    if given.scale != 1 or given.mean or given.std or np.dtype(spec.dtype).kind != "f":
        return False
    # Masks and one-bit pictures are 0 or 1 already.
    return len(spec.shape) == 4 and _holds_bytes(source) and _largest(source) > 1


def multiplied_pixels(source: DataSource) -> bool:
    """Whether images become larger than 255: a scale of 1/255 was given, by which they are divided."""
    given = source.preprocess
    return 0 < given.scale < 1 and _holds_bytes(source) and _largest(source) > 255


def _largest(source: DataSource) -> float:
    """The largest value of the first input over a few samples."""
    some = np.unique(np.linspace(0, len(source) - 1, 4, dtype=np.int64))
    return float(source.take(some).inputs[0].max())


def _holds_bytes(source: DataSource) -> bool:
    if isinstance(source, ImageFolderSource):
        return True
    return isinstance(source, StoredSource) and source.inputs[0].dtype == np.uint8
