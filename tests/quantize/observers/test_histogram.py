from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgekit.quantize.observers.histogram import DynamicHistogram

VALUES = hnp.arrays(
    np.float32, st.integers(1, 200), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
)


@settings(max_examples=150, deadline=None)
@given(values=VALUES, bins=st.sampled_from([8, 64, 4096]))
def test_every_value_lies_in_the_bin_that_counts_it(values: NDArray[np.float32], bins: int) -> None:
    histogram = DynamicHistogram(bins)
    for value in values:
        histogram.add(value)
    edges, counts = histogram.edges(), histogram.counts()
    assert len(counts) <= bins
    assert counts.sum() == len(values)
    # numpy closes the last bin on both sides, this histogram only below: one more edge keeps the last bin open
    expected, _ = np.histogram(values.astype(np.float64), np.append(edges, np.inf))
    assert expected[:-1].tolist() == counts.tolist()


@settings(max_examples=100, deadline=None)
@given(values=VALUES)
def test_order_does_not_matter(values: NDArray[np.float32]) -> None:
    first, second = DynamicHistogram(64), DynamicHistogram(64)
    for value in values:
        first.add(value)
    for value in values[::-1]:
        second.add(value)
    assert first.counts().tolist() == second.counts().tolist()
    assert first.edges().tolist() == second.edges().tolist()


def test_a_wide_tensor_uses_more_than_half_of_the_bins() -> None:
    histogram = DynamicHistogram(4096)
    histogram.add(np.linspace(-1.0, 2.7, 10_000, dtype=np.float32))
    assert len(histogram.counts()) > 2048


def test_zeros_are_counted() -> None:
    histogram = DynamicHistogram()
    histogram.add(np.array([0.0, -0.0, 1.0], np.float32))
    assert histogram.zeros == 2


def test_an_odd_number_of_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        DynamicHistogram(7)
