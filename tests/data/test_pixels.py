"""Pixels that nobody scales are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import from_arrays, open_source, unscaled_pixels
from edgekit.types import Preprocess, Signature, TensorSpec

BYTES = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)


def taking(dtype: str = "float32", shape: tuple[int, ...] = (1, 3, 8, 8)) -> Signature:
    return Signature((TensorSpec("x", dtype, shape),), (TensorSpec("y", "float32", (1, 4)),))


def test_bytes_without_a_scale_are_seen() -> None:
    assert unscaled_pixels(from_arrays(BYTES), taking())


def test_a_folder_of_images_without_a_scale_is_seen(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a.png")
    for given, unscaled in (
        (Preprocess(), True),
        (Preprocess(resize=(4, 4)), True),
        (Preprocess(scale=255), False),
    ):
        assert unscaled_pixels(open_source(tmp_path, given, tmp_path / "cache"), taking()) is unscaled


@pytest.mark.parametrize("given", [Preprocess(scale=255), Preprocess(mean=(127.5,)), Preprocess(std=(58.0,))])
def test_any_scale_mean_or_std_is_the_user_s_word(given: Preprocess) -> None:
    assert not unscaled_pixels(from_arrays(BYTES, preprocess=given), taking())


def test_what_is_no_picture_of_0_to_255_is_let_be() -> None:
    assert not unscaled_pixels(from_arrays(BYTES.astype(np.float32)), taking())  # may be any feature
    assert not unscaled_pixels(from_arrays(BYTES // 255), taking())  # 0 or 1
    assert not unscaled_pixels(from_arrays(BYTES[:, 0, 0]), taking(shape=(1, 8)))  # a table
    assert not unscaled_pixels(from_arrays(BYTES), taking("uint8"))  # the network takes bytes
