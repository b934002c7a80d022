from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress.pruning.widths import allowed_widths, nearest_width


@given(width=st.integers(2, 4096), round_to=st.integers(1, 64))
def test_every_width_is_a_multiple_or_half_of_a_small_group(width: int, round_to: int) -> None:
    first, *smaller = allowed_widths(width, round_to)
    assert first == width
    assert all(0 < count < width for count in smaller)
    assert all(count % round_to == 0 for count in smaller) or (width <= round_to and smaller == [width // 2])


@given(width=st.integers(2, 4096), round_to=st.integers(1, 64))
def test_nothing_goes_below_the_floor(width: int, round_to: int) -> None:
    assert min(allowed_widths(width, round_to)) >= min(round_to, width // 2)


@given(width=st.integers(2, 512), least=st.integers(1, 512))
def test_at_least_min_channels_stay(width: int, least: int) -> None:
    assert all(count >= least for count in allowed_widths(width, 8, least)[1:])


@given(width=st.integers(2, 512), wanted=st.floats(0, 600))
def test_the_nearest_width_is_allowed(width: int, wanted: float) -> None:
    allowed = allowed_widths(width, 8)
    chosen = nearest_width(allowed, wanted)
    assert all(abs(chosen - wanted) <= abs(other - wanted) for other in allowed)
