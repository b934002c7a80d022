"""Whether a network scales its input by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.graph.scaling import scales_input
from tests.backends.graphs import graph, node, weights


def written(folder: Path, nodes: list[Any], values: dict[str, Any]) -> Path:
    path = folder / "net.onnx"
    model = graph(nodes, {"w": weights(4, 3, 3, 3), **values}, shape=(1, 3, 8, 8))
    onnx.save(model, str(path))
    return path


HALF = np.full((1,), 0.5, np.float32)


@pytest.mark.parametrize("op", ["Div", "Mul", "Sub", "Add"])
def test_a_constant_right_behind_the_input_scales_it(tmp_path: Path, op: str) -> None:
    nodes = [node(op, ["x", "c"], ["a"]), node("Conv", ["a", "w"], ["y"])]
    assert scales_input(written(tmp_path, nodes, {"c": HALF}), "x")


def test_a_batch_norm_of_the_input_scales_it(tmp_path: Path) -> None:
    ones = np.ones(3, np.float32)
    nodes = [node("BatchNormalization", ["x", "g", "b", "m", "v"], ["a"]), node("Conv", ["a", "w"], ["y"])]
    assert scales_input(written(tmp_path, nodes, dict.fromkeys("gbmv", ones)), "x")


def test_moving_values_comes_before_the_scale(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["x", "i"], ["flipped"], axis=1),
        node("Mul", ["flipped", "c"], ["a"]),
        node("Conv", ["a", "w"], ["y"]),
    ]
    assert scales_input(written(tmp_path, nodes, {"c": HALF, "i": np.array([2, 1, 0])}), "x")


def test_a_convolution_first_or_a_product_of_the_input_with_itself_is_no_scale(tmp_path: Path) -> None:
    later = [node("Conv", ["x", "w"], ["a"]), node("Mul", ["a", "c"], ["y"])]
    assert not scales_input(written(tmp_path, later, {"c": HALF}), "x")
    gate = [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["a"]), node("Conv", ["a", "w"], ["y"])]
    assert not scales_input(written(tmp_path, gate, {}), "x")
    square = [node("Mul", ["x", "x"], ["a"]), node("Conv", ["a", "w"], ["y"])]
    assert not scales_input(written(tmp_path, square, {}), "x")
