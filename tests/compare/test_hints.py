"""Hints follow from what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.backends.tensors import Grid, TensorFacts, Weights, weights_facts
from edgekit.compare.hints import Remedies, layer_hints, output_hints
from edgekit.compare.remedies import remedies_for
from edgekit.compare.statistics import Accumulator, Difference

A = TensorFacts("x", ("x",), "conv", "x", ())
RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((8, 4, 100))


def difference(b: np.ndarray, grid: Grid | None = None, a: np.ndarray = VALUES) -> Difference:
    sums = Accumulator(grid)
    sums.add(a, b)
    return sums.result()


def hints(
    found: Difference, grid: Grid | None = None, a: Weights | None = None, b: Weights | None = None
) -> str:
    return " ".join(layer_hints(found, replace(A, weights=a), replace(A, grid=grid, weights=b)))


def quantized(grid: Grid, values: np.ndarray = VALUES) -> np.ndarray:
    return np.clip(np.rint(values / grid.step) * grid.step, grid.low, grid.high)


def test_values_cut_off_by_a_narrow_range_ask_for_a_wider_one() -> None:
    grid = Grid(-1.5, 1.5, 3 / 255)
    text = hints(difference(quantized(grid), grid), grid)
    assert "lie outside of its range (-1.5 to 1.5" in text
    assert "min-max" in text


def test_outliers_that_make_the_steps_coarse_ask_for_a_tighter_range() -> None:
    values = np.concatenate([VALUES.reshape(-1), [120.0]])[None]
    grid = Grid(-120.0, 120.0, 240 / 255)
    text = hints(difference(quantized(grid, values), grid, values), grid)
    assert "outliers make the steps too coarse" in text
    assert "MSE" in text


def test_a_range_of_no_width_is_told_as_bad_calibration() -> None:
    grid = Grid(0.0, 1e-6, 1e-6 / 255)
    assert "calibrated on samples that are all alike" in hints(difference(quantized(grid), grid), grid)


def test_one_scale_for_unlike_channels_asks_for_scales_per_channel() -> None:
    weights = RNG.standard_normal((4, 3, 3, 3)) * np.array([1.0, 1.0, 1.0, 0.01])[:, None, None, None]
    step = float(np.abs(weights).max()) / 127
    rounded = weights_facts(np.rint(weights / step) * step, 0, step=step, grid="per-tensor")
    text = hints(difference(VALUES + 0.3), None, weights_facts(weights, 0), rounded)
    assert "quantize weights per channel" in text


def test_other_weights_are_told_with_the_channel() -> None:
    weights = RNG.standard_normal((4, 3))
    other = weights.copy()
    other[2] *= 5
    text = hints(difference(-VALUES), None, weights_facts(weights, 0), weights_facts(other, 0))
    assert "weights differ in 1 of 4 output channels: in channel 2 B's norm is 5 times A's" in text


def test_a_multiple_is_told_as_a_scale() -> None:
    assert "B is 255 × A" in hints(difference(255.0 * VALUES))


def test_a_shift_of_the_channels_asks_for_bias_correction() -> None:
    shift = np.array([0.3, -0.2, 0.2, -0.3])[None, :, None]
    assert "constant shift of each channel" in hints(difference(VALUES + shift))


def test_values_that_agree_in_another_layout_are_told_so() -> None:
    found = layer_hints(difference(RNG.standard_normal(VALUES.shape)), A, A, suspects=(("reversed", 0.99),))
    assert "channels in reverse order" in found[0]


def test_infinities_and_constants_are_told_first() -> None:
    bad = VALUES.copy()
    bad[0] = np.inf
    assert hints(difference(bad)).startswith("12.50% of B's values are NaN or infinite")
    assert "gives 0 everywhere" in hints(difference(np.zeros_like(VALUES)))


def test_what_comes_with_the_inputs_is_not_blamed_on_the_layer() -> None:
    noisy = VALUES + 0.1 * RNG.standard_normal(VALUES.shape)
    found = layer_hints(difference(noisy), A, A, inputs_db=19.0)
    assert found == ("its inputs are as far apart as it is: it passes on what the layers before it lost",)


def test_a_sound_layer_gets_no_hint() -> None:
    grid = Grid(-4.5, 4.5, 9 / 255)
    found = difference(quantized(grid), grid)
    assert layer_hints(found, A, replace(A, grid=grid), diverges=False) == ()


def test_a_softmax_on_one_side_alone_is_told() -> None:
    assert output_hints(difference(-VALUES), softmax="B")[0].startswith("B ends in a softmax")


@pytest.mark.parametrize(
    ("backend", "recipe"), [("onnxruntime", "int8-mixed"), ("openvino", "int8-nncf-mixed")]
)
def test_remedies_name_recipes_of_the_runtime(backend: str, recipe: str) -> None:
    found = remedies_for(backend)  # type: ignore[arg-type]
    assert recipe in found.keep_float
    assert found != Remedies()
