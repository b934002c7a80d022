"""A stored sample becomes a network input in one way, in a build and in a service."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from edgekit.board.preprocess import SampleError, prepared
from edgekit.data.preprocess import preprocess_samples
from edgekit.types import Preprocess

IMAGES = np.random.RandomState(0).randint(0, 256, (3, 9, 7, 2)).astype(np.uint8)
STATISTICS: dict[str, Any] = {"mean": (0.4, 0.5), "std": (0.2, 0.3)}
RECORDED = {
    "nhwc": (Preprocess("nhwc"), "43412c6c618f3e5b"),
    "nhwc, scaled": (Preprocess("nhwc", 255.0), "061231dee0b697df"),
    "nhwc, normalized": (Preprocess("nhwc", 255.0, **STATISTICS), "d24b1feb10d57730"),
    "nhwc, one mean": (Preprocess("nhwc", 255.0, (0.45,), (0.25,)), "7d535fc6784a1a9c"),
    "nhwc, cropped": (Preprocess("nhwc", 255.0, **STATISTICS, crop=4), "4f26ec4fba37c9fe"),
    "nhwc, resized already": (Preprocess("nhwc", 255.0, **STATISTICS, resize=7, crop=5), "907e036987869461"),
    "nchw, scaled": (Preprocess("nchw", 255.0, crop=2), "02068244f9fc138e"),
    "as it is": (Preprocess(), "003cf59f0a56e6b5"),
    "as it is, scaled": (Preprocess(scale=3.0), "49b8b16c7dd768c0"),
}
"""SHA-256 of the inputs that builds made of these images before the rule moved to the board."""


@pytest.mark.parametrize("name", RECORDED)
def test_inputs_are_to_the_last_bit_what_they_were(name: str) -> None:
    preprocess, digest = RECORDED[name]
    result = prepared(IMAGES, asdict(preprocess))
    assert result.dtype == np.float32
    assert hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()[:16] == digest
    np.testing.assert_array_equal(preprocess_samples(IMAGES, preprocess), result)


def test_token_ids_stay_what_they_are() -> None:
    tokens = np.arange(6, dtype=np.int64).reshape(2, 3)
    result = prepared(tokens, asdict(Preprocess()))
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, tokens)


def test_where_nothing_resizes_the_size_that_is_declared_has_to_come() -> None:
    with pytest.raises(SampleError, match="resize the image first: its shorter side must have 4 pixels"):
        prepared(IMAGES, asdict(Preprocess("nhwc", resize=4)))
