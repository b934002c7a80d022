"""The plan of an INT8 build as a value: its arithmetic, and that it survives being written down."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.quantize import Range, Scheme
from edgekit.quantize.plan import QuantPlan, decode_plan, encode_plan, followed, united
from edgekit.types import FloatLayer

NAMES = st.sampled_from([f"t{number}" for number in range(8)])
FLOATS = st.floats(-1e6, 1e6, width=32)
RANGES = st.builds(lambda a, b: Range(min(a, b), max(a, b)), FLOATS, FLOATS)
SCHEMES = st.one_of(
    st.builds(Scheme, st.sampled_from(["int8", "uint8"]), st.sampled_from([7, 8]), st.booleans()),
    st.builds(Scheme, st.just("int8"), st.just(8), st.booleans(), st.just(True)),
)
BIASES = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5).map(
    lambda values: np.array(values, "<f4").tobytes()
)
PLANS = st.builds(
    QuantPlan,
    network=st.text("0123456789abcdef", min_size=64, max_size=64),
    calibration=st.text(max_size=8),
    recipe=st.text(max_size=8),
    observer=st.sampled_from(["minmax", "mse", "nncf"]),
    samples=st.integers(1, 4096),
    integers=SCHEMES,
    ranges=st.dictionaries(NAMES, RANGES),
    shared=st.lists(st.tuples(NAMES, NAMES), max_size=3).map(tuple),
    in_float=st.lists(
        st.builds(
            FloatLayer,
            st.text(max_size=8),
            st.sampled_from(["sensitive", "between", "recipe", "small", "runtime"]),
        )
    ).map(tuple),
    bias_correction=st.sampled_from(["none", "fast", "full"]),
    biases=st.dictionaries(NAMES, BIASES),
    io=st.sampled_from(["float", "int8"]),
    left_to_runtime=st.sampled_from([(), ("ranges",), ("ranges", "biases")]),
    notes=st.lists(st.text(max_size=8), max_size=2).map(tuple),
)


@given(PLANS)
def test_a_plan_survives_being_written_down(plan: QuantPlan) -> None:
    content = encode_plan(plan)
    again = decode_plan(content)
    assert again == plan
    assert encode_plan(again) == content
    assert again.digest == plan.digest
    assert list(again.ranges) == list(plan.ranges)


@given(PLANS, PLANS)
def test_other_plans_have_other_digests(first: QuantPlan, second: QuantPlan) -> None:
    assert (first.digest == second.digest) == (encode_plan(first) == encode_plan(second))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"network": 3}'])
def test_what_is_no_plan_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode_plan(content)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_bias_comes_back_bit_by_bit(values: list[float]) -> None:
    bias = np.array(values, np.float32)
    plan = dataclasses.replace(_plan(), biases={"layer": bias.astype("<f4").tobytes()})
    bias_read = decode_plan(encode_plan(plan)).bias("layer")
    assert bias_read.dtype == np.float32
    np.testing.assert_array_equal(bias_read, bias)


@given(RANGES, SCHEMES)
def test_zero_is_exact_in_every_grid(values: Range, scheme: Scheme) -> None:
    grid = dataclasses.replace(_plan(), integers=scheme, ranges={"t": values}).grid("t")
    assert grid.low <= grid.zero_point <= grid.high
    assert grid.scale > 0


@given(RANGES)
def test_symmetric_integers_have_zero_point_0(values: Range) -> None:
    scheme = Scheme("int8", 8, symmetric=True)
    assert dataclasses.replace(_plan(), integers=scheme, ranges={"t": values}).grid("t").zero_point == 0


@given(st.dictionaries(NAMES, RANGES), st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=6))
def test_united_tensors_have_one_range_that_holds_all_of_theirs(
    ranges: dict[str, Range], groups: list[list[str]]
) -> None:
    settled, shared = united(ranges, groups)
    assert settled.keys() == ranges.keys()
    for group in shared:
        assert len(group) > 1
        assert len({settled[name] for name in group}) == 1
        assert settled[group[0]].low == min(ranges[name].low for name in group)
        assert settled[group[0]].high == max(ranges[name].high for name in group)
    alone = ranges.keys() - {name for group in shared for name in group}
    assert all(settled[name] == ranges[name] for name in alone)
    for asked in groups:
        known = {settled[name] for name in asked if name in ranges}
        assert len(known) <= 1
    _is_disjoint_and_ordered(shared, ranges)


@given(st.dictionaries(NAMES, RANGES), st.lists(st.tuples(NAMES, NAMES), max_size=10))
def test_followers_take_a_range_that_one_of_their_group_had(
    ranges: dict[str, Range], pairs: list[tuple[str, str]]
) -> None:
    settled, shared = followed(ranges, pairs)
    assert list(settled) == list(ranges)
    for group in shared:
        (taken,) = {settled[name] for name in group}
        assert taken in {ranges[name] for name in group}
    alone = ranges.keys() - {name for group in shared for name in group}
    assert all(settled[name] == ranges[name] for name in alone)
    _is_disjoint_and_ordered(shared, ranges)


def test_a_range_travels_along_a_chain() -> None:
    ranges = {"pool": Range(0, 2), "conv": Range(-1, 6), "flat": Range(0, 3)}
    settled, shared = followed(ranges, [("pool", "flat"), ("conv", "pool")])
    assert set(settled.values()) == {Range(-1, 6)}
    assert shared == (("pool", "conv", "flat"),)


def test_a_tensor_follows_the_first_that_names_it_and_no_circle_closes() -> None:
    ranges = {"a": Range(0, 1), "b": Range(0, 2), "c": Range(0, 3)}
    settled, shared = followed(ranges, [("a", "b"), ("c", "b"), ("b", "a"), ("a", "a")])
    assert settled == {"a": Range(0, 1), "b": Range(0, 1), "c": Range(0, 3)}
    assert shared == (("a", "b"),)


def test_groups_that_touch_are_one() -> None:
    ranges = {name: Range(0, edge) for name, edge in zip("abc", (1, 2, 3), strict=True)}
    settled, shared = united(ranges, [{"a", "b"}, {"b", "c"}])
    assert shared == (("a", "b", "c"),)
    assert set(settled.values()) == {Range(0, 3)}


def test_a_summary_counts_what_the_plan_decides_and_not_what_the_runtime_does() -> None:
    plan = dataclasses.replace(
        _plan(),
        ranges={"a": Range(0, 1), "b": Range(0, 1)},
        shared=(("a", "b"),),
        in_float=(FloatLayer("x", "small"), FloatLayer("y", "sensitive")),
        biases={"z": b"\0\0\0\0"},
    )
    assert plan.kept("sensitive", "recipe") == ("y",)
    summary = plan.summary()
    assert (summary.ranges, summary.shared_scales, summary.corrected_biases) == (2, 1, 1)
    left = dataclasses.replace(plan, left_to_runtime=("ranges", "biases")).summary()
    assert (left.ranges, left.shared_scales, left.corrected_biases) == (None, None, None)


def _plan() -> QuantPlan:
    return QuantPlan("0" * 64, "c", "r", "minmax", 16, Scheme(), {}, (), (), "none", {})


def _is_disjoint_and_ordered(shared: tuple[tuple[str, ...], ...], ranges: dict[str, Range]) -> None:
    members = [name for group in shared for name in group]
    assert len(members) == len(set(members))
    places = list(ranges)
    assert all(list(group) == sorted(group, key=places.index) for group in shared)
    assert [group[0] for group in shared] == sorted((group[0] for group in shared), key=places.index)
