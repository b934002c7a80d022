"""Preprocessing as detectors have it: width x height, letterbox, crops that are no square, BGR, grey."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.board.preprocess import SampleError, prepared
from edgekit.board.reading import read_sample, resize
from edgekit.data import open_source
from edgekit.data.preprocess import check_preprocess, preprocess_samples
from edgekit.data.stored import combined_digest
from edgekit.errors import DataError
from edgekit.types import Preprocess

IMAGES = np.random.RandomState(0).randint(0, 256, (2, 30, 50, 3)).astype(np.uint8)
HOW = {
    "stretched": (Preprocess("nhwc", resize=(64, 48)), (3, 48, 64)),
    "letterbox": (Preprocess("nhwc", resize=(64, 64), letterbox=114), (3, 64, 64)),
    "letterbox, bgr": (Preprocess("nhwc", 255.0, resize=(40, 64), letterbox=0, channels="bgr"), (3, 64, 40)),
    "crop": (Preprocess("nhwc", crop=(40, 20)), (3, 20, 40)),
    "shorter side, crop": (Preprocess("nhwc", resize=60, crop=(90, 50)), (3, 50, 90)),
    "grey": (Preprocess("nhwc", channels="grey", resize=(20, 10)), (1, 10, 20)),
    "rgb": (Preprocess("nhwc", channels="rgb"), (3, 30, 50)),
}


@pytest.mark.parametrize("name", HOW)
def test_a_build_and_a_bundle_make_the_same_of_a_file(tmp_path: Path, name: str) -> None:
    from PIL import Image

    preprocess, shape = HOW[name]
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    built = open_source(tmp_path, preprocess, tmp_path).take(np.array([0])).inputs[0]
    spec = {"name": "x", "shape": [1, *shape]}
    served = prepared(
        read_sample(str(tmp_path / "a.png"), spec, asdict(preprocess))[None], asdict(preprocess), resize
    )
    assert built.shape == (1, *shape)
    assert built.dtype == np.float32
    np.testing.assert_array_equal(built, served)
    np.testing.assert_array_equal(built, preprocess_samples(IMAGES[:1], preprocess))


def test_a_letterbox_keeps_proportions_and_fills_the_rest() -> None:
    white = np.full((1, 30, 60, 3), 255, np.uint8)
    result = preprocess_samples(white, Preprocess("nhwc", resize=(40, 40), letterbox=114))[0, 0]
    assert (result[10:30] == 255).all()
    assert (result[:10] == 114).all()
    assert (result[30:] == 114).all()


def test_channels_are_what_the_network_takes() -> None:
    red = np.zeros((1, 4, 4, 3), np.uint8)
    red[..., 0] = 200
    assert preprocess_samples(red, Preprocess("nhwc", channels="bgr"))[0, :, 0, 0].tolist() == [0, 0, 200]
    assert preprocess_samples(red, Preprocess("nhwc", channels="grey"))[0, :, 0, 0].tolist() == [60]
    grey = np.full((1, 4, 4, 1), 7, np.uint8)
    assert preprocess_samples(grey, Preprocess("nhwc", channels="rgb"))[0, :, 0, 0].tolist() == [7, 7, 7]


def test_grey_is_pillows_to_the_last_bit() -> None:
    from PIL import Image

    wanted = np.asarray(Image.fromarray(IMAGES[0]).convert("L"))
    result = prepared(IMAGES[:1], asdict(Preprocess("nhwc", channels="grey")))
    np.testing.assert_array_equal(result[0, 0], wanted)


CHANGES: list[dict[str, Any]] = [
    {"channels": "bgr"},
    {"letterbox": 0},
    {"resize": (64, 48)},
    {"crop": (9, 8)},
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_field_is_in_the_digest(change: dict[str, Any]) -> None:
    plain = Preprocess("nhwc", resize=(64, 64), letterbox=114)
    assert combined_digest("content", plain) != combined_digest("content", replace(plain, **change))


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        (Preprocess("nhwc", letterbox=114), "letterbox needs the width and height"),
        (Preprocess("nhwc", resize=(9, 9), letterbox=300), "letterbox is 300"),
        (Preprocess("nhwc", resize=(64, 48), crop=(48, 64)), "more than resize"),
        (Preprocess("nhwc", resize=(64, 0)), "resize is"),
    ],
)
def test_what_cannot_be_is_told_before(preprocess: Preprocess, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        check_preprocess(preprocess)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 4, 4, 2), (1, 4)])
def test_samples_without_colours_are_told(shape: tuple[int, ...]) -> None:
    layout = "nhwc" if len(shape) == 4 else "as-is"
    with pytest.raises(SampleError, match="channels"):
        prepared(np.zeros(shape, np.uint8), asdict(Preprocess(layout, channels="grey")))
