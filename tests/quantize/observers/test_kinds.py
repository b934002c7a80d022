from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgekit.quantize import OBSERVERS, Range, affine_parameters, make_observer
from edgekit.quantize.observers.histogram import DynamicHistogram
from edgekit.quantize.observers.kinds import EntropyObserver, MseObserver, PercentileObserver
from edgekit.quantize.observers.mse import expected_error

VALUES = hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e4, 1e4, allow_nan=False, width=32))
KINDS = pytest.mark.parametrize("kind", list(OBSERVERS))
SHAPES: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "normal": lambda rng: rng.standard_normal(40_000),
    "heavy tails": lambda rng: rng.standard_t(3, 40_000),
    "one-sided": lambda rng: np.maximum(rng.standard_normal(40_000), 0.0),
    "away from zero": lambda rng: rng.uniform(5.0, 9.0, 40_000),
    "below zero": lambda rng: -rng.exponential(1.0, 40_000),
}


def observed(kind: str, pieces: Sequence[NDArray[np.float32]]) -> Range:
    observer = make_observer(kind)
    for piece in pieces:
        observer.observe(piece)
    return observer.range()


def squared_error(values: NDArray[np.float32], kept: Range) -> float:
    grid = affine_parameters(kept, 0, 255)
    integers = np.clip(np.rint(values / grid.scale) + grid.zero_point, 0, 255)
    return float(np.square((integers - grid.zero_point) * grid.scale - values, dtype=np.float64).mean())


@KINDS
@settings(max_examples=60, deadline=None)
@given(values=VALUES, cuts=st.lists(st.integers(0, 300), max_size=5))
def test_the_range_does_not_depend_on_how_the_data_are_cut(
    kind: str, values: NDArray[np.float32], cuts: list[int]
) -> None:
    ends = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    pieces = [values[start:stop] for start, stop in itertools.pairwise(ends)]
    assert observed(kind, pieces) == observed(kind, [values])


@KINDS
@settings(max_examples=60, deadline=None)
@given(values=VALUES)
def test_the_range_lies_within_what_was_seen(kind: str, values: NDArray[np.float32]) -> None:
    kept = observed(kind, [values])
    assert float(values.min()) <= kept.low <= kept.high <= float(values.max())


@KINDS
@settings(max_examples=30, deadline=None)
@given(value=st.floats(-1e6, 1e6, allow_nan=False, width=32))
def test_a_constant_is_its_own_range(kind: str, value: float) -> None:
    kept = observed(kind, [np.full((2, 3), value, np.float32)])
    assert kept.low == kept.high == np.float32(value)


@KINDS
def test_values_that_are_not_finite_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="not finite"):
        make_observer(kind).observe(np.array([1.0, np.nan], np.float32))


@KINDS
def test_a_range_before_any_value_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="no values"):
        make_observer(kind).range()


@KINDS
def test_empty_arrays_change_nothing(kind: str) -> None:
    values = np.arange(10, dtype=np.float32)
    assert observed(kind, [values, values[:0]]) == observed(kind, [values])


@KINDS
def test_memory_does_not_grow_with_what_was_observed(kind: str) -> None:
    observer = make_observer(kind)
    values = np.random.default_rng(0).standard_normal(2_000).astype(np.float32)
    observer.observe(values)
    tracemalloc.start()
    for factor in range(1, 200):
        observer.observe(values * factor)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 50_000  # one histogram of 4096 counters is 32 kB, all values are 1.6 MB


@pytest.mark.parametrize("shape", list(SHAPES))
def test_mse_never_quantizes_worse_than_the_full_range(shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(1)).astype(np.float32)
    clipped, full = observed("mse", [values]), observed("minmax", [values])
    assert squared_error(values, clipped) <= 1.01 * squared_error(values, full)


@settings(max_examples=60, deadline=None)
@given(values=VALUES)
def test_the_error_that_mse_expects_is_never_above_that_of_the_full_range(
    values: NDArray[np.float32],
) -> None:
    observer = MseObserver()
    observer.observe(values)
    edges, counts = observer.histogram.edges(), observer.histogram.counts().copy()
    counts[np.searchsorted(edges[:-1], 0.0, side="right") - 1] -= observer.histogram.zeros
    full = Range(float(values.min()), float(values.max()))
    assert expected_error(edges, counts, observer.range(), 256) <= expected_error(edges, counts, full, 256)


def test_the_expected_error_is_the_measured_one() -> None:
    values = np.random.default_rng(2).standard_normal(200_000).astype(np.float32)
    histogram = DynamicHistogram()
    histogram.add(values)
    for kept in (Range(-1.0, 1.0), Range(-3.0, 2.5), Range(0.0, 4.0)):
        expected = expected_error(histogram.edges(), histogram.counts(), kept, 256) / len(values)
        assert expected == pytest.approx(squared_error(values, kept), rel=0.01)


@pytest.mark.parametrize("observer", [MseObserver(), EntropyObserver(), PercentileObserver(99.0)])
def test_a_lone_outlier_is_clipped(observer: MseObserver | EntropyObserver | PercentileObserver) -> None:
    values = np.random.default_rng(3).standard_normal(100_000).astype(np.float32)
    values[7] = 9.0
    observer.observe(values)
    assert observer.range().high < 8.0


def test_percentile_keeps_the_share_it_says() -> None:
    values = np.random.default_rng(4).standard_normal(100_000).astype(np.float32)
    observer = PercentileObserver(98.0)
    observer.observe(values)
    kept = observer.range()
    assert np.mean((values >= kept.low) & (values <= kept.high)) == pytest.approx(0.98, abs=0.002)


def test_percentile_100_is_the_full_range() -> None:
    observer = PercentileObserver(100.0)
    observer.observe(np.array([-3.0, 0.1, 7.0], np.float32))
    assert observer.range() == Range(-3.0, 7.0)


def test_a_percentile_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="percentile"):
        PercentileObserver(40.0)


def test_an_unknown_observer_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="minmax"):
        make_observer("mean")
