"""Image files as stored samples, and planes in another size, by Pillow: the same in a build and in a bundle.

Pillow is loaded where it is used; a board without it can still be given arrays.
"""

import struct
import zlib
from typing import Any

import numpy as np

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif", ".webp", ".tif", ".tiff"))
LARGEST_PIXELS = 64000000
"""Of one image: decoded as RGB it takes 192 MB. A few kB of PNG can claim many times as much."""

DEEP = frozenset(("I;16", "I;16L", "I;16B", "I;16N", "I"))
"""Pillow's modes of 16 bits of grey."""

PROBLEMS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error,
    zlib.error,
)  # fmt: skip
"""What Pillow's readers raise on damaged files."""


def decode(path: Any, mode: str) -> Any:
    """Upright pixels of a file (its path, or itself, open), uint8: [H, W] for the mode "L", [H, W, 3] for "RGB".

    Turned as its EXIF says; 16 bits of grey become 8 (65535 is 255); alpha is dropped, as torchvision's ImageFolder
    does. Raises ImportError without Pillow, ValueError for more than LARGEST_PIXELS, else one of PROBLEMS.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        if image.width * image.height > LARGEST_PIXELS:
            size = "%dx%d" % (image.width, image.height)
            raise ValueError("it has too many pixels (%s); allowed: %d at most" % (size, LARGEST_PIXELS))
        upright = ImageOps.exif_transpose(image)
        return np.asarray(_eight_bits(upright).convert(mode), dtype=np.uint8)


def _opened(path: Any) -> Any:
    from PIL import Image

    try:
        return Image.open(path)
    except Image.DecompressionBombError:  # far above our own limit
        raise ValueError("it has too many pixels; allowed: %d at most" % LARGEST_PIXELS) from None


def _eight_bits(image: Any) -> Any:
    from PIL import Image

    if image.mode in DEEP:
        # Pillow's own conversion clips at 255 instead (python-pillow/Pillow#3011).
        return Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image


def resize_planes(planes: Any, height: int, width: int) -> Any:
    """Planes [N, C, H, W] in another size, every channel by Pillow's bilinear filter, which smooths when it shrinks.

    uint8 stays uint8, every other type becomes float32. Raises ImportError without Pillow.
    """
    from PIL import Image

    # Pillow resizes 8-bit and float planes; every other type goes through float.
    dtype = np.dtype(np.uint8) if planes.dtype == np.uint8 else np.dtype(np.float32)
    result = np.empty(planes.shape[:2] + (height, width), dtype)
    for sample in range(planes.shape[0]):
        for channel in range(planes.shape[1]):
            image = Image.fromarray(np.ascontiguousarray(planes[sample, channel], dtype=dtype))
            result[sample, channel] = np.asarray(image.resize((width, height), Image.BILINEAR))
    return result
