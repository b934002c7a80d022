"""What a build warns of when it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.building.opening import pixels_told
from edgekit.data import from_arrays
from edgekit.graph import read_signature
from edgekit.testing.onnx_networks import as_variant
from edgekit.types import Preprocess, Variant
from tests.backends.graphs import conv, graph, node, weights

BYTES = np.random.default_rng(0).integers(0, 256, (20, 4, 8, 8), dtype=np.uint8)


def variant(path: Path, nodes: list[Any], **constants: Any) -> Variant:
    onnx.save(graph(nodes, {"w": weights(4, 4, 3, 3), **constants}), str(path))
    return replace(as_variant(path), signature=read_signature(path))


@pytest.fixture
def plain(tmp_path: Path) -> Variant:
    return variant(tmp_path / "plain.onnx", [conv("x", "y")])


@pytest.fixture
def scaling(tmp_path: Path) -> Variant:
    nodes = [node("Div", ["x", "c"], ["a"]), conv("a", "y")]
    return variant(tmp_path / "scaling.onnx", nodes, c=np.full((1,), 255, np.float32))


def test_a_forgotten_scale_is_told_where_no_label_shows_it(plain: Variant) -> None:
    (told,) = pixels_told(from_arrays(BYTES), plain)
    assert "0 to 255" in told
    assert "--scale 255" in told


def test_nothing_is_told_where_it_is_scaled_or_the_score_will_tell(plain: Variant, scaling: Variant) -> None:
    assert pixels_told(from_arrays(BYTES, preprocess=Preprocess(scale=255)), plain) == ()
    assert pixels_told(from_arrays(BYTES, np.arange(20) % 4), plain) == ()
    assert pixels_told(from_arrays(BYTES), scaling) == ()


def test_a_scale_that_multiplies_pixels_is_told(plain: Variant) -> None:
    for labels in (None, np.arange(20) % 4):
        (told,) = pixels_told(from_arrays(BYTES, labels, preprocess=Preprocess(scale=1 / 255)), plain)
        assert "larger than 255" in told
    shares = BYTES / np.float32(255)  # which 1/255 makes 0 to 255 of
    assert pixels_told(from_arrays(shares, preprocess=Preprocess(scale=1 / 255)), plain) == ()
