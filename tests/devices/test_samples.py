"""Samples on their way to a board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data.base import Batch
from edgekit.devices import write_samples
from edgekit.errors import DataError
from edgekit.types import TensorSpec

SPEC = TensorSpec("x", "float32", (1, 3, None))


def batches(*sizes: int, shape: tuple[int, ...] = (3, 2)) -> list[Batch]:
    values = iter(range(10_000))
    made = []
    for size in sizes:
        labels = np.array([next(values) for _ in range(size)])
        made.append(
            Batch((np.ones((size, *shape), np.float32) * labels.reshape(-1, *[1] * len(shape)),), labels)
        )
    return made


def test_batches_become_one_file_in_order(tmp_path: Path) -> None:
    files = write_samples(batches(3, 3, 1), [SPEC], tmp_path, count=7)
    written = np.load(files.inputs["x"])
    assert written.shape == (7, 3, 2)
    np.testing.assert_array_equal(written[:, 0, 0], np.arange(7))
    np.testing.assert_array_equal(files.labels, np.arange(7))
    assert files.first["x"].shape == (1, 3, 2)


def test_samples_beyond_the_count_are_left(tmp_path: Path) -> None:
    files = write_samples(batches(3, 3), [SPEC], tmp_path, count=4)
    assert len(np.load(files.inputs["x"])) == 4
    assert files.labels is not None
    assert len(files.labels) == 4


def test_too_few_samples_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 samples came, 5"):
        write_samples(batches(3), [SPEC], tmp_path, count=5)


def test_a_shape_the_network_does_not_take_is_told_with_both_shapes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\[4, 2\].*\[3, 'any'\].*--input-layout"):
        write_samples(batches(2, shape=(4, 2)), [SPEC], tmp_path, count=2)


def test_another_number_of_inputs_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 arrays per sample; allowed: 2"):
        write_samples(batches(2), [SPEC, SPEC], tmp_path, count=2)


def test_a_later_value_that_the_input_does_not_hold_is_told(tmp_path: Path) -> None:
    """Only the first sample is checked before the work."""
    good, bad = np.zeros((4, 3), np.float32), np.full((4, 3), 256, np.float32)
    with pytest.raises(DataError, match=r"samples 4 to 7: samples are float32 such as 256, .* is uint8"):
        write_samples(
            [Batch((good,), None), Batch((bad,), None)], [TensorSpec("x", "uint8", (1, 3))], tmp_path, count=8
        )
