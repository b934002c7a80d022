"""Image files as people have them come out as what they show, or are named before any work."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import check_data, open_source
from edgekit.data.decoding import LARGEST_PIXELS, decode
from edgekit.data.images import ImageFolderSource
from edgekit.errors import DataError
from edgekit.types import Preprocess

images = pytest.importorskip("PIL.Image")

SCENE = np.random.default_rng(5).integers(0, 256, (12, 20, 3), dtype=np.uint8)
"""[H, W, 3]."""
GREY = np.asarray(images.fromarray(SCENE).convert("L"))
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:240:12j, 0:200:20j], 90), axis=2).astype(np.uint8)
"""What JPEG keeps within a few levels."""


def opened(folder: Path) -> ImageFolderSource:
    source = open_source(folder, Preprocess(), folder / "cache")
    assert isinstance(source, ImageFolderSource)
    return source


def as_palette(image: Any) -> Any:
    return image.quantize(256)


def as_palette_with_alpha(image: Any) -> Any:
    palette = image.quantize(255)
    palette.info["transparency"] = bytes([255] * 200 + [0] * 55)
    return palette


def as_rgba(image: Any) -> Any:
    image = image.convert("RGBA")
    image.putalpha(128)
    return image


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [as_palette, as_palette_with_alpha, as_rgba])
def test_colour_is_kept_whatever_the_mode(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    few_colours = SCENE // 128 * 255  # eight: a palette holds them all
    change(images.fromarray(few_colours)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "RGB"), few_colours)


def test_cmyk_is_not_inverted(tmp_path: Path) -> None:
    images.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    decoded = decode(tmp_path / "a.jpg", "RGB").astype(int)
    assert np.abs(decoded - SMOOTH).max() < 12


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_of_grey_become_8_and_are_told(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a").mkdir()
    images.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "a" / f"1.{suffix}")
    images.fromarray(GREY).save(tmp_path / "a" / "2.png")
    source = opened(tmp_path)
    taken = source.take(np.arange(2)).inputs[0]
    np.testing.assert_array_equal(taken, np.stack([GREY, GREY])[:, None])
    assert source.warnings == (
        f"{tmp_path}: 1 of 2 images have 16 bits and are read as 8: 65535 becomes 255",
    )


def test_16_bits_of_grey_among_colour_are_not_clipped(tmp_path: Path) -> None:
    images.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "1.png")
    images.fromarray(SCENE).save(tmp_path / "2.png")
    taken = opened(tmp_path).take(np.arange(2)).inputs[0]
    np.testing.assert_array_equal(taken[0], np.stack([GREY] * 3))


def test_every_16_bit_level_goes_to_the_nearest_of_8(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    images.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "L"), np.round(levels / 257))


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_pixels_without_a_known_white_are_refused(tmp_path: Path, kind: str) -> None:
    images.fromarray(GREY.astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has .* pixels; allowed: 8 bits a channel"):
        opened(tmp_path)


TURNS = {
    2: SMOOTH[:, ::-1], 3: SMOOTH[::-1, ::-1], 4: SMOOTH[::-1], 5: SMOOTH.transpose(1, 0, 2),
    6: np.rot90(SMOOTH, 1), 7: SMOOTH[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(SMOOTH, -1),
}  # fmt: skip
"""EXIF orientation → pixels as a camera held so stores them."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_images_are_turned_as_their_exif_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = images.Exif()
    exif[0x0112] = orientation
    stored = images.fromarray(np.ascontiguousarray(TURNS[orientation]))
    stored.save(tmp_path / f"1.{suffix}", exif=exif, quality=98)
    images.fromarray(SMOOTH).save(tmp_path / "2.png")
    source = opened(tmp_path)
    taken = source.take(np.arange(2)).inputs[0]
    assert np.abs(taken[0] - taken[1]).max() < 25
    assert source.warnings == (f"{tmp_path}: 1 of 2 images are turned upright, as their EXIF says",)
    assert source.warnings[0] in check_data(source)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.66, 0.95])
def test_a_truncated_file_is_named_when_the_folder_is_opened(
    tmp_path: Path, suffix: str, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("1", "2"):
        images.fromarray(noise).save(tmp_path / f"{name}.{suffix}")
    bad = tmp_path / f"2.{suffix}"
    bad.write_bytes(bad.read_bytes()[: int(share * bad.stat().st_size)])
    with pytest.raises(DataError, match=rf"2\.{suffix} (cannot be decoded|is not a readable image)"):
        opened(tmp_path)


def test_a_truncated_progressive_jpeg_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    images.fromarray(noise).save(tmp_path / "1.jpg", progressive=True)
    content = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(DataError, match=r"1\.jpg cannot be decoded"):
        opened(tmp_path)


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [8001, 10_000, 40_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(claiming(side, side))
    with pytest.raises(DataError, match=r"a\.png has too many pixels.*allowed: 64,000,000 at most"):
        opened(tmp_path)


def test_the_largest_size_is_let_through_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(claiming(8000, LARGEST_PIXELS // 8000))
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        opened(tmp_path)
