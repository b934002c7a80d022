"""Between measured widths, and not beyond them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.latency.interpolation import FamilyTimes
from edgekit.types import Estimate

WIDTHS = (8, 16, 32, 64)


def point(value: float) -> Estimate:
    return Estimate(value, 0.9 * value, 1.1 * value)


def grid(time_of: object) -> dict[tuple[int, int], Estimate]:
    assert callable(time_of)
    return {(a, b): point(time_of(a, b)) for a in WIDTHS for b in WIDTHS}


@given(
    st.sampled_from(range(8, 65, 8)), st.sampled_from(range(8, 65, 8)), st.floats(0.1, 3), st.floats(0.1, 3)
)
def test_a_power_law_is_met_exactly_between_points(a: int, b: int, p: float, q: float) -> None:
    times = FamilyTimes(grid(lambda x, y: 1e-3 * x**p * y**q))
    assert times.outside(a, b) == ""
    assert math.isclose(times.at(a, b).value, 1e-3 * a**p * b**q, rel_tol=1e-9)


@given(st.sampled_from(range(8, 65, 8)), st.sampled_from(range(8, 65, 8)))
def test_a_step_seen_on_one_row_holds_on_the_others(a: int, b: int) -> None:
    """Registers of 16 channels: 8 cost as much as 16, 24 as 32."""

    def time_of(x: int, y: int) -> float:
        return 1e-3 * x * math.ceil(y / 16) * 16

    points = grid(time_of)
    points.update({(64, y): point(time_of(64, y)) for y in (24, 40, 48, 56)})
    assert math.isclose(FamilyTimes(points).at(a, b).value, time_of(a, b), rel_tol=1e-9)


@pytest.mark.parametrize(
    ("widths", "why"),
    [
        ((72, 8), "8 to 64 were measured"),
        ((8, 4), "no multiple of 8"),
        ((12, 8), "no multiple of 8"),
        ((8, 128), "out"),
    ],
)
def test_what_lies_outside_is_said(widths: tuple[int, int], why: str) -> None:
    assert why in FamilyTimes(grid(lambda x, y: x * y)).outside(*widths)


def test_a_measured_width_is_known_whatever_it_is() -> None:
    times = FamilyTimes({(3, 16): point(1.0), (3, 32): point(2.0)})
    assert times.outside(3, 16) == ""
    assert times.at(3, 16).value == 1.0
    assert times.at(3, 24).value == pytest.approx(math.exp(math.log(2) * math.log(1.5) / math.log(2)))
    assert "3 channels" not in times.outside(3, 24)
    assert times.outside(8, 24)


def test_square_units_lie_on_one_line() -> None:
    times = FamilyTimes({(8, 8): point(1.0), (32, 32): point(4.0)})
    assert times.at(16, 16).value == pytest.approx(2.0)
    assert times.outside(64, 64)


def test_misfit_tells_how_far_a_point_leaves_what_the_others_say() -> None:
    points = grid(lambda x, y: 1e-3 * x * y)
    points[64, 48] = point(1e-3 * 64 * 48 * 1.5)
    assert FamilyTimes(points).misfit(64, 48) == pytest.approx(math.log(1.5))
