"""Scores per sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.errors import DataError
from edgekit.measure import find_metric, holds_class_scores
from edgekit.measure.metrics import agreement, top1, top5

scores = arrays(np.float32, (6, 8), elements=st.integers(-3, 3).map(float))


@given(scores, arrays(np.int64, 6, elements=st.integers(0, 7)))
def test_top1_is_what_argmax_says(values: np.ndarray, labels: np.ndarray) -> None:
    np.testing.assert_array_equal(top1({"s": values}, labels), values.argmax(axis=1) == labels)


@given(scores, arrays(np.int64, 6, elements=st.integers(0, 7)))
def test_what_top1_hits_top5_hits(values: np.ndarray, labels: np.ndarray) -> None:
    assert (top5({"s": values}, labels) >= top1({"s": values}, labels)).all()


@given(scores)
def test_a_network_agrees_with_itself(values: np.ndarray) -> None:
    assert agreement({"s": values}, {"s": values}).all()


def test_an_answer_that_is_no_number_is_never_right() -> None:
    assert top1({"s": np.array([[np.nan, 1.0], [0.0, 1.0]])}, np.array([1, 1])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 10), True), ((5, 10, 1, 1), True), ((5, 1), False), ((5, 3, 4), False), ((5,), False)],
)
def test_class_scores_are_told_from_other_outputs(shape: tuple[int, ...], expected: bool) -> None:
    assert holds_class_scores({"s": np.ones(shape)}) is expected


def test_labels_beyond_the_outputs_are_told() -> None:
    with pytest.raises(DataError, match="label 9; allowed: 0 to 2"):
        top1({"s": np.ones((2, 3))}, np.array([0, 9]))


def test_top1_of_boxes_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"\[2, 3, 4\].*--metric"):
        top1({"boxes": np.ones((2, 3, 4))}, np.array([0, 1]))


def write(folder: Path, text: str) -> Path:
    (folder / "own.py").write_text(text)
    return folder / "own.py"


def test_a_metric_of_ones_own_is_called_with_outputs_and_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "def near(outputs, labels):\n    return -abs(outputs['s'][:, 0] - labels)\n")
    found = find_metric(f"{path}:near")
    assert found({"s": np.array([[1.0], [2.0]])}, np.array([1, 4])).tolist() == [0.0, -2.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(o, l): return 0", "has no 'near'"),
        ("def near(o): return 0", "cannot be called with"),
        ("def near(o, l): return [1.0]", r"one finite score per sample, \[2\]"),
        ("def near(o, l): return [float('nan')] * 2", "one finite score"),
        ("def near(o, l): return o['absent']", "raised KeyError"),
        (
            "def near(o, l): return o.argmax(1)",
            r"no attribute 'argmax'.*; it is given arrays of numpy's: outputs {'s': ",
        ),
        ("import absent_package", "absent_package"),
        ("def near(o, l)", "not valid Python"),
    ],
)
def test_a_metric_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        find_metric(f"{write(tmp_path, text)}:near")({"s": np.ones((2, 1))}, np.array([0, 1]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["top3", "file.py:", "no_such_package:f", "absent.py:f"])
def test_an_unknown_metric_is_refused(spec: str) -> None:
    with pytest.raises(DataError, match="metric"):
        find_metric(spec)


@pytest.mark.parametrize(
    ("spec", "meant"), [("accuracy", "top1"), ("IoU", "miou"), ("mse", "rmse"), ("top_1", "top1")]
)
def test_a_metric_by_another_library_s_name_gets_ours(spec: str, meant: str) -> None:
    with pytest.raises(DataError, match=f"allowed: top1, .*; did you mean {meant}[?]"):
        find_metric(spec)
