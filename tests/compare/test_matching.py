"""Which tensor is which."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.backends.tensors import TensorFacts
from edgekit.compare.layouts import apply_layout, layouts_between
from edgekit.compare.matching import Match, align, comparable, match_tensors

WORTH = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.one_of(st.floats(0.01, 1.0), st.just(-np.inf)),
)


def facts(name: str, op: str = "conv") -> TensorFacts:
    return TensorFacts(name, (name,), op, name, ())


def noise(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((2, 4, 6, 5)) for _ in range(count)]


def match(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, Match]:
    found = match_tensors([facts(name) for name in a], [facts(name) for name in b], a, b)
    return {each.a: each for each in found}


@given(WORTH)
def test_the_alignment_keeps_the_order_of_both_sides(worth: np.ndarray) -> None:
    pairs = align(worth)
    assert all(first[0] < second[0] and first[1] < second[1] for first, second in pairwise(pairs))
    assert all(np.isfinite(worth[pair]) for pair in pairs)


@given(WORTH.filter(lambda worth: worth.size <= 16))
def test_no_other_alignment_is_worth_more(worth: np.ndarray) -> None:
    rows, columns = worth.shape
    best = max(
        sum(worth[i, j] for i, j in zip(left, right, strict=True))
        for size in range(min(rows, columns) + 1)
        for left in combinations(range(rows), size)
        for right in combinations(range(columns), size)
    )
    assert sum(worth[pair] for pair in align(worth)) == pytest.approx(best)


def test_tensors_of_one_name_are_one_tensor() -> None:
    first, second = noise(2)
    found = match({"x": first, "y": second}, {"y": second, "x": first})
    assert {name: (each.b, each.how) for name, each in found.items()} == {
        "x": ("x", "name"),
        "y": ("y", "name"),
    }


def test_without_names_the_values_decide() -> None:
    values = noise(4)
    found = match(dict(zip("abcd", values, strict=True)), {"1": values[1], "2": values[3]})
    assert {name: (each.b, each.how) for name, each in found.items()} == {
        "b": ("1", "values"),
        "d": ("2", "values"),
    }


def test_a_name_is_not_believed_when_another_tensor_has_the_values() -> None:
    first, second = noise(2)
    found = match({"x": first}, {"x": second, "z": first})
    assert (found["x"].b, found["x"].how) == ("z", "values")


def test_where_values_do_not_agree_the_place_is_told_as_the_reason() -> None:
    values, others = noise(3), noise(3, seed=1)
    a = dict(zip("abc", values, strict=True))
    found = match(a, {"1": values[0], "2": others[1], "3": values[2]})
    assert [(each.b, each.how) for each in found.values()] == [
        ("1", "values"),
        ("2", "place"),
        ("3", "values"),
    ]


def test_channels_last_is_brought_to_channels_first() -> None:
    (values,) = noise(1)
    found = match({"a": values}, {"b": values.transpose(0, 2, 3, 1)})
    assert (found["a"].layout, found["a"].how) == ("nhwc", "values")


def test_of_a_cube_the_layout_in_which_the_values_agree_is_taken() -> None:
    cube = np.random.default_rng(0).standard_normal((1, 4, 4, 4))
    found = match({"a": cube}, {"a": cube.transpose(0, 2, 3, 1)})
    assert found["a"].layout == "nhwc"


def test_tensors_of_other_shapes_never_match() -> None:
    assert match({"a": np.ones((1, 3, 4))}, {"a": np.ones((1, 3, 5))}) == {}


@given(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)))
def test_every_layout_gives_the_shape_that_it_promises(shape: tuple[int, int, int, int]) -> None:
    others = [shape, (shape[0], *shape[2:], shape[1]), (shape[0], shape[3], *shape[1:3]), (*shape, 1)]
    for other in others:
        layouts = layouts_between(shape, other)
        assert layouts
        assert all(apply_layout(np.zeros(other), layout, shape).shape == shape for layout in layouts)


def test_a_tensor_that_a_repair_gave_another_scale_is_left_out_on_both_sides() -> None:
    plain = [facts("stem"), facts("body"), facts("score")]
    repaired = [facts("stem/rescaled"), facts("body/rescaled_QuantizeLinear_Output"), facts("score")]
    assert [[each.name for each in side] for side in comparable(plain, repaired)] == [["score"], ["score"]]
    assert comparable(repaired, repaired) == (repaired, repaired)
    assert comparable(plain, plain) == (plain, plain)
