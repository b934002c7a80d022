"""Products of two activations: what is on their right has zero in the middle of its range, for XNNPACK to take them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.backends.litert.flatbuffer import Op, Tensor
from edgekit.backends.litert.plan import WIDER, with_symmetric_factors
from edgekit.quantize import Range

LEFT, RIGHT, MADE = (Tensor(name, "float32", (4, 16, 16), False) for name in ("q", "k", "s"))
PRODUCT = Op(0, "BATCH_MATMUL", (LEFT, RIGHT), (MADE,))


@settings(deadline=None)
@given(st.floats(-8, 8), st.floats(0.01, 8))
def test_the_right_side_has_a_zero_point_of_0_unless_its_range_grew_too_much(
    low: float, width: float
) -> None:
    before = {"q": Range(-1.0, 3.0), "k": Range(low, low + width), "s": Range(-9.0, 1.0)}
    after = with_symmetric_factors(before, (), [PRODUCT])
    assert (after["q"], after["s"]) == (before["q"], before["s"])
    held, kept = before["k"].with_zero(), after["k"]
    if kept == before["k"]:
        wanted = 255 * max(held.high / 127, -held.low / 128)
        assert (
            wanted > WIDER * (held.high - held.low) * (1 - 1e-9)
            or wanted <= before["k"].high - before["k"].low
        )
    else:
        assert kept.low <= held.low * (1 - 1e-9)
        assert kept.high >= held.high * (1 - 1e-9)
        scale = (kept.high - kept.low) / 255
        assert abs(-128 - kept.low / scale) < 1e-6
        assert kept.high - kept.low <= WIDER * (held.high - held.low) * (1 + 1e-9)


def test_all_that_share_its_scale_get_the_same_range() -> None:
    before = {name: Range(-2.0, 3.0) for name in ("queries", "q", "k")}
    after = with_symmetric_factors(before, (("queries", "q", "k"),), [PRODUCT])
    assert len(set(after.values())) == 1
    assert after["k"].high == 3.0


def test_a_product_with_stored_numbers_and_one_that_stays_float_are_left_as_they_are() -> None:
    before = {"q": Range(-1.0, 3.0), "k": Range(-2.0, 3.0)}
    stored = Op(0, "BATCH_MATMUL", (LEFT, Tensor("k", "float32", (4, 16, 16), True)), (MADE,))
    assert with_symmetric_factors(before, (), [stored]) == before
    assert with_symmetric_factors(before, (), []) == before
