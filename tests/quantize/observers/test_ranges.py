from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.quantize import Range, affine_parameters

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, width=32)
RANGES = st.tuples(NUMBERS, NUMBERS).map(lambda pair: Range(min(pair), max(pair)))


def test_a_range_refuses_ends_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="low"):
        Range(1.0, 0.0)


def test_a_range_refuses_nan() -> None:
    with pytest.raises(ValueError, match="finite"):
        Range(float("nan"), 0.0)


@given(RANGES)
def test_zero_is_always_represented_exactly(values: Range) -> None:
    grid = affine_parameters(values, 0, 255)
    assert grid.low <= grid.zero_point <= grid.high


@given(RANGES)
def test_the_scale_is_positive_even_for_a_constant(values: Range) -> None:
    assert affine_parameters(values, 0, 255).scale > 0
    assert affine_parameters(values, -127, 127, symmetric=True).scale > 0


@given(RANGES)
def test_both_ends_are_represented_within_half_a_step(values: Range) -> None:
    grid = affine_parameters(values, -128, 127)
    slack = 0.51 * grid.scale
    assert (grid.low - grid.zero_point) * grid.scale <= min(values.low, 0) + slack
    assert (grid.high - grid.zero_point) * grid.scale >= max(values.high, 0) - slack


@given(RANGES)
def test_symmetric_parameters_have_the_middle_as_zero(values: Range) -> None:
    assert affine_parameters(values, -127, 127, symmetric=True).zero_point == 0
    assert affine_parameters(values, 0, 255, symmetric=True).zero_point == 128
