"""Samples that networks could treat differently are among the few that are looked at."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import extremes, from_arrays, most_different


def test_the_shortest_and_longest_and_largest_are_among_them() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (300, 12))
    x[:, 6:] = 0
    x[41, 1:], x[77, 6:], x[123, 0] = 0, 5, 99
    chosen = most_different(from_arrays(x, None), 20)
    assert chosen[0] == 0
    assert {41, 77, 123} <= set(chosen.tolist())
    assert len(chosen) == len(set(chosen.tolist())) == 20


def test_floats_are_told_apart_by_mean_and_spread() -> None:
    x = np.random.default_rng(0).standard_normal((100, 2, 8)).astype(np.float32)
    x[13] += 5
    x[29] *= 0.01
    assert {13, 29} <= set(most_different(from_arrays(x, None), 16).tolist())


def test_a_small_source_is_taken_whole() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    assert sorted(most_different(from_arrays(x, None))) == [0, 1, 2, 3, 4]


def test_large_samples_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    source = from_arrays(np.random.default_rng(0).standard_normal((40, 5000)).astype(np.float32), None)
    monkeypatch.setattr(extremes, "LARGEST_BYTES", 12 * 20_000)
    assert len(most_different(source, 32)) == 12
    monkeypatch.setattr(extremes, "LARGEST_BYTES", 1)
    assert len(most_different(source, 32)) == 8
