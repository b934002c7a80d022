"""What OpenVINO leaves in float once a network is narrower: a table reaches up to there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.latency.grid import first_points
from edgekit.latency.small import largest_product, when_small
from edgekit.latency.unit import MULTIPLE, AttentionForm, Family, Unit


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.floats(1e3, 1e6))
def test_every_shape_of_an_attention_that_would_be_small_is_measured_in_float(
    heads: int, key: int, value: int, limit: float
) -> None:
    form = AttentionForm(("scores",), False, packed=False, biased=False)
    family = Family("attention", (64, 64), "int8", groups=heads, attention=form)
    unit = Unit(family, MULTIPLE * key, MULTIPLE * value)
    points = set(first_points(tuple(when_small([unit], limit))))
    assert {point.family.precision for point in points} <= {"fp32"}
    for count in range(1, heads + 1):
        for width in (MULTIPLE, min(unit.channels_in, unit.channels_out)):
            narrow = unit.resized(channels_in=width, channels_out=width, heads=count)
            if largest_product(narrow) < limit - 1:
                reached = [
                    point
                    for point in points
                    if point.family.groups == count and min(point.channels_in, point.channels_out) >= width
                ]
                assert reached
