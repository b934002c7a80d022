from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import load_preprocess
from edgekit.data.preprocess import check_preprocess, preprocess_samples
from edgekit.errors import DataError
from edgekit.types import Preprocess


def test_nhwc_bytes_become_normalized_nchw() -> None:
    x = np.zeros((2, 4, 5, 3), np.uint8)
    x[..., 1] = 255
    y = preprocess_samples(x, Preprocess("nhwc", scale=255, mean=(0.0, 0.5, 0.0), std=(1.0, 0.25, 1.0)))
    assert y.shape == (2, 3, 4, 5)
    assert y.dtype == np.float32
    assert np.all(y[:, 1] == 2)
    assert np.all(y[:, 0] == 0)


def test_one_mean_serves_all_channels() -> None:
    y = preprocess_samples(np.ones((1, 2, 3, 3)), Preprocess(mean=(0.5,), std=(0.5,)))
    assert np.all(y == 1)


def test_token_ids_stay_whole_numbers() -> None:
    assert preprocess_samples(np.ones((2, 7), np.int64), Preprocess()).dtype == np.int64


def test_scaled_whole_numbers_become_float() -> None:
    assert preprocess_samples(np.ones((2, 7), np.int64), Preprocess(scale=2)).dtype == np.float32


def test_shorter_side_is_resized_and_the_centre_cropped() -> None:
    pytest.importorskip("PIL")
    x = np.zeros((1, 8, 16, 3), np.uint8)
    x[:, :, 6:10] = 200
    y = preprocess_samples(x, Preprocess("nhwc", resize=4, crop=2))
    assert y.shape == (1, 3, 2, 2)
    assert y.min() > 100


def test_float_images_are_resized_too() -> None:
    pytest.importorskip("PIL")
    y = preprocess_samples(np.full((1, 1, 8, 8), 0.3, np.float32), Preprocess("nchw", resize=4))
    assert y.shape == (1, 1, 4, 4)
    assert np.allclose(y, 0.3)


@pytest.mark.parametrize(
    ("shape", "preprocess", "message"),
    [
        ((2, 8), Preprocess("nhwc"), r"input_layout is nhwc, but the samples are \[8\]"),
        ((2, 8, 8, 3), Preprocess("nchw", mean=(1, 2, 3)), "mean has 3 values, the samples have 8 channels"),
        ((2, 3, 8, 8), Preprocess(resize=4), "set input_layout"),
        ((2, 8, 8, 3), Preprocess("nhwc", crop=9), "crop is 9, but an image is 8x8"),
    ],
)
def test_shapes_that_do_not_fit_are_told(
    shape: tuple[int, ...], preprocess: Preprocess, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        preprocess_samples(np.zeros(shape, np.float32), preprocess)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (Preprocess(scale=0), "scale is 0"),
        (Preprocess(scale=float("nan")), "scale is nan"),
        (Preprocess(std=(0.1, 0.0)), "std is 0.1,0; allowed: numbers above 0"),
        (Preprocess(mean=(0.1, 0.2), std=(1, 1, 1)), "mean has 2 values, std has 3"),
        (Preprocess(mean=(float("inf"),)), "finite"),
        (Preprocess(resize=0), "resize is 0"),
        (Preprocess(resize=8, crop=9), "crop is 9, more than resize"),
    ],
)
def test_values_that_make_no_sense_are_told(preprocess: Preprocess, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_preprocess(preprocess)


def test_toml_has_the_same_keys(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        'input_layout = "nhwc"\nscale = 255\nmean = [0.5, 0.5, 0.5]\nstd = 0.25\nresize = 32\ncrop = 28\n'
    )
    assert load_preprocess(path) == Preprocess("nhwc", 255.0, (0.5, 0.5, 0.5), (0.25,), 32, 28)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sclae = 255", "unknown key 'sclae'; allowed: input_layout, scale"),
        ('input_layout = "chw"', "one of nhwc, nchw, as-is"),
        ('mean = ["a"]', "mean"),
        ("resize = 3.5", "resize"),
        ("scale = 0", "scale is 0"),
        ("scale = ", "is not TOML"),
    ],
)
def test_wrong_toml_is_told_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_preprocess(tmp_path / "p.toml")
    assert "\n" not in str(caught.value)


def test_absent_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_preprocess(tmp_path / "absent.toml")


def test_what_a_file_leaves_out_has_its_default_everywhere(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("scale = 255\n")
    assert vars(load_preprocess(tmp_path / "p.toml")) == vars(Preprocess(scale=255.0))
