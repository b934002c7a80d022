"""Two machines that answer alike, and two that do not."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.measure.agreement import agreement_of

SCORES = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]


def test_the_same_answers_differ_nowhere() -> None:
    found = agreement_of({"y": SCORES}, {"y": SCORES.copy()})
    assert (found.samples, found.differing, found.by_class, found.worst) == (5, 0, True, 0.0)


def test_another_class_counts_and_the_worst_sample_is_named() -> None:
    board = SCORES.copy()
    board[3] = [1.0, 0.0, 0.0, 0.9]
    board[4, 0] = 0.9  # the class stays
    found = agreement_of({"y": board}, {"y": SCORES})
    assert (found.differing, found.worst_sample, found.output) == (1, 3, "y")
    assert found.worst == pytest.approx(1.0)


def test_without_classes_a_value_counts_beyond_a_share_of_its_outputs_range() -> None:
    boxes = np.linspace(0, 100, 20, dtype=np.float32).reshape(2, 10)
    near, far = boxes.copy(), boxes.copy()
    near[0, 0] += 4.0
    far[1, 3] += 6.0
    flags = np.zeros((2, 1), np.float32)
    assert agreement_of({"b": near, "f": flags}, {"b": boxes, "f": flags}).differing == 0
    found = agreement_of({"b": far, "f": flags}, {"b": boxes, "f": flags})
    assert (found.differing, found.by_class, found.worst_sample, found.output) == (1, False, 1, "b")
    assert found.worst == pytest.approx(0.06, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_on_one_side_differs_wholly(value: float) -> None:
    board = SCORES.copy()
    board[2, 0] = value
    found = agreement_of({"y": board}, {"y": SCORES})
    assert found.worst >= 1.0
    assert found.worst_sample == 2
    assert agreement_of({"y": board}, {"y": board.copy()}).worst == 0.0


def test_integers_of_a_constant_output_can_be_compared() -> None:
    zeros = np.zeros((3, 2, 2), np.int8)
    assert agreement_of({"m": zeros}, {"m": zeros}).worst == 0.0
    assert agreement_of({"m": zeros + 1}, {"m": zeros}).differing == 3


def test_outputs_of_two_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="outputs of two networks"):
        agreement_of({"y": SCORES}, {"z": SCORES})
