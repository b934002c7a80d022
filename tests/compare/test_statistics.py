"""How far two tensors are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.backends.tensors import Grid
from edgekit.compare.statistics import BEST_DB, Accumulator, Difference

VALUES = st.floats(-1e3, 1e3, width=32)
TENSORS = arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)), elements=VALUES
)


def difference(a: np.ndarray, b: np.ndarray, grid: Grid | None = None) -> Difference:
    sums = Accumulator(grid)
    sums.add(a, b)
    return sums.result()


@given(TENSORS)
def test_a_tensor_does_not_differ_from_itself(a: np.ndarray) -> None:
    found = difference(a, a)
    assert (found.cosine, found.sqnr_db, found.max_abs) == (1.0, BEST_DB, 0.0)


@given(TENSORS, st.integers(0, 2**32 - 1))
def test_batches_add_up_to_the_whole(a: np.ndarray, seed: int) -> None:
    b = a + np.random.default_rng(seed).standard_normal(a.shape).astype(np.float32)
    sums = Accumulator()
    for place in range(len(a)):
        sums.add(a[place : place + 1], b[place : place + 1])
    parts, whole = sums.result(), difference(a, b)
    for name in ("cosine", "sqnr_db", "max_abs", "gain", "offset", "shift_share"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-4, abs=1e-6)


@given(TENSORS, TENSORS)
def test_cosine_and_shares_stay_in_their_bounds(a: np.ndarray, b: np.ndarray) -> None:
    found = difference(a, np.resize(b, a.shape), Grid(-1.0, 1.0, 0.1))
    assert -1.0 <= found.cosine <= 1.0
    assert -BEST_DB <= found.sqnr_db <= BEST_DB
    for share in (found.unexplained, found.shift_share, found.outside_share, found.clipped_share):
        assert 0.0 <= share <= 1.0


def test_sqnr_is_signal_over_noise_in_decibel() -> None:
    a = np.full((1, 100), 10.0)
    assert difference(a, a + 1.0).sqnr_db == pytest.approx(20.0)


def test_a_multiple_is_found_with_its_gain_and_offset() -> None:
    a = np.random.default_rng(0).standard_normal((2, 50))
    found = difference(a, 255.0 * a + 3.0)
    assert (found.gain, found.offset) == (pytest.approx(255.0), pytest.approx(3.0))
    assert found.unexplained < 1e-9


def test_a_shift_of_each_channel_is_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 3, 50))
    shifted = a + np.array([1.0, -2.0, 0.5])[None, :, None]
    assert difference(a, shifted).shift_share == pytest.approx(1.0)
    assert difference(a, a + rng.standard_normal(a.shape)).shift_share < 0.1


def test_values_outside_of_the_grid_are_counted_with_what_cutting_them_costs() -> None:
    a = np.array([[0.0, 0.5, 1.0, 5.0]])
    found = difference(a, np.clip(a, 0.0, 1.0), Grid(0.0, 1.0, 1 / 255))
    assert found.outside_share == 0.25
    assert found.clipped_share == pytest.approx(1.0, rel=0.01)


def test_rounding_alone_leaves_what_the_step_says() -> None:
    a = np.random.default_rng(0).uniform(-1.0, 1.0, (1, 100_000))
    step = 2 / 255
    found = difference(a, np.rint(a / step) * step, Grid(-1.0, 1.0, step))
    assert found.grid_db == pytest.approx(found.sqnr_db, abs=0.3)


def test_places_that_are_not_finite_are_counted_and_left_out() -> None:
    a = np.array([[1.0, 2.0, 3.0, 4.0]])
    found = difference(a, np.array([[1.0, math.nan, 3.0, math.inf]]))
    assert found.not_finite == (0.0, 0.5)
    assert found.sqnr_db == BEST_DB


def test_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        difference(np.zeros((1, 2)), np.zeros((1, 3)))
