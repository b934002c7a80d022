"""One image file: what its header says, whether it can be decoded to its end, and its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.board import images as board
from edgekit.board.images import DEEP, LARGEST_PIXELS, PROBLEMS
from edgekit.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["ImageHeader", "check_decodes", "decode", "read_headers"]

GREY = frozenset({"1", "L", "LA", "La"}) | DEEP
DEEP_FORMATS = frozenset({"PNG", "PPM"})  # whose mode "I" (32 bits in memory) holds 0 to 65535
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width (CIPA DC-008, 4.6.4)


@dataclass(frozen=True)
class ImageHeader:
    """`height` and `width` in pixels once it stands upright; `deep`: grey with 16 bits; `turned`: by its EXIF."""

    height: int
    width: int
    grey: bool
    deep: bool
    turned: bool


def read_headers(paths: Iterable[Path]) -> Iterator[ImageHeader]:
    """The header of every file, one after another, none decoded further than its EXIF takes.

    Raises DataError for a file that is no image, that has more than `LARGEST_PIXELS`, or whose pixels are float or
    have 32 bits: what is black and white in them is not written anywhere.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as problem:
        raise MissingExtraError("Pillow", "images") from problem

    for path in paths:
        with _problems_told(path, "is not a readable image"), warnings.catch_warnings():
            # Above its own limit Pillow warns, above twice that it raises: here it is an error in any case.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                image = Image.open(path)
            except (Image.DecompressionBombWarning, Image.DecompressionBombError) as problem:
                raise _too_large(path, "") from problem
        with image, _problems_told(path, "is not a readable image"):
            yield _header(path, image)


def _header(path: Path, image: Image) -> ImageHeader:
    if image.width * image.height > LARGEST_PIXELS:
        raise _too_large(path, f" ({image.width}x{image.height})")
    if image.mode == "F" or (image.mode == "I" and image.format not in DEEP_FORMATS):
        kind = "float" if image.mode == "F" else "32-bit"
        raise DataError(
            f"{path} has {kind} pixels",
            allowed="8 bits a channel, or 16 bits of grey",
            remedy="save it so, or give an .npz file",
        )
    with _problems_told(path, "cannot be decoded"):  # a PNG is, as its EXIF may stand behind the pixels
        orientation = image.getexif().get(ORIENTATION, 1)
    height, width = image.height, image.width
    if orientation in (5, 6, 7, 8):
        height, width = width, height
    return ImageHeader(
        height, width, image.mode in GREY, image.mode in DEEP, orientation in (2, 3, 4, 5, 6, 7, 8)
    )


def _too_large(path: Path, size: str) -> DataError:
    return DataError(
        f"{path} has too many pixels{size}", allowed=f"{LARGEST_PIXELS:,} at most", remedy="make it smaller"
    )


def check_decodes(path: Path) -> None:
    """Decode the file to its end, at an eighth of its size where its format can. Raises DataError."""
    from PIL import Image

    with _problems_told(path, "cannot be decoded"), Image.open(path) as image:
        # JPEG: fewer coefficients are transformed, but all are read, so that a truncated file is noticed.
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()


def decode(path: Path, mode: str) -> NDArray[np.uint8]:
    """Upright pixels, uint8: [H, W] for the mode "L", [H, W, 3] for "RGB", as in a bundle. Raises DataError."""
    with _problems_told(path, "cannot be decoded"):
        pixels: NDArray[np.uint8] = board.decode(str(path), mode)
        return pixels


@contextmanager
def _problems_told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except PROBLEMS as problem:
        raise DataError(f"{path} {what}: {problem}") from problem
