"""Pixels that reach a network as they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.images import ImageFolderSource
from edgekit.data.stored import StoredSource

if TYPE_CHECKING:
    from edgekit.data.base import DataSource
    from edgekit.types import Signature

__all__ = ["unscaled_pixels"]


def unscaled_pixels(source: DataSource, signature: Signature) -> bool:
    """Whether images of 0 to 255 go into the network's first input, a float one, without scale, mean or std.

    Images: files of a folder, or samples [N, C, H, W] that are stored as uint8.
    """
    given, spec = source.preprocess, signature.inputs[0]
    if given.scale != 1 or given.mean or given.std or np.dtype(spec.dtype).kind != "f":
        return False
    if len(spec.shape) != 4 or not _holds_bytes(source):
        return False
    some = np.unique(np.linspace(0, len(source) - 1, 4, dtype=np.int64))
    return bool(source.take(some).inputs[0].max() > 1)  # masks and one-bit pictures are 0 or 1 already


def _holds_bytes(source: DataSource) -> bool:
    if isinstance(source, ImageFolderSource):
        return True
    return isinstance(source, StoredSource) and source.inputs[0].dtype == np.uint8
