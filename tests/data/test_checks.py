from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.data import check_data, from_arrays, make_splits
from edgekit.errors import DataError
from edgekit.types import Preprocess, Signature, TensorSpec


def signature(*shape: int, classes: int = 3, dtype: str = "float32") -> Signature:
    return Signature(
        (TensorSpec("input", dtype, (1, *shape)),), (TensorSpec("output", "float32", (1, classes)),)
    )


X = np.random.default_rng(0).random((200, 4, 4, 1), dtype=np.float32)
Y = np.arange(200) % 3


def test_good_data_pass_without_warnings() -> None:
    source = from_arrays(X, Y, preprocess=Preprocess("nhwc"))
    assert check_data(source, make_splits(source, seed=0), signature(1, 4, 4)) == ()


def test_data_without_labels_pass() -> None:
    assert check_data(from_arrays(X, preprocess=Preprocess("nhwc")), None, signature(1, 4, 4)) == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_found_wherever_they_are(value: float) -> None:
    x = X.copy()
    x[163, 2, 2, 0] = value
    with pytest.raises(DataError, match="sample 163 holds NaN or infinity"):
        check_data(from_arrays(x, Y))


def test_whole_numbers_need_no_search_for_nan() -> None:
    check_data(from_arrays(np.ones((20, 2), np.uint8), Y[:20]))


def test_wrong_shape_is_told_with_what_the_network_takes() -> None:
    with pytest.raises(DataError, match=r"samples become \[4, 4, 1\], the network takes \[3, 8, 8\]"):
        check_data(from_arrays(X, Y), None, signature(3, 8, 8))


def test_a_forgotten_layout_is_guessed() -> None:
    with pytest.raises(DataError, match="set input_layout to nhwc"):
        check_data(from_arrays(X, Y), None, signature(1, 4, 4))


def test_images_of_another_size_get_the_option_with_the_network_s() -> None:
    source = from_arrays(np.zeros((20, 3, 12, 16), np.float32))
    with pytest.raises(DataError, match=r"samples become \[3, 12, 16\].*--resize 6x8 "):
        check_data(source, None, signature(3, 8, 6))


def test_wrong_number_of_inputs_is_told() -> None:
    with pytest.raises(DataError, match="has 2 inputs per sample, the network takes 1"):
        check_data(from_arrays((X, X), Y), None, signature(4, 4, 1))


def test_wrong_type_is_told() -> None:
    with pytest.raises(
        DataError, match="samples are int64, the input 'input' is float32; store them as float32"
    ):
        check_data(from_arrays(np.ones((9, 2), np.int64), Y[:9]), None, signature(2))


@pytest.mark.parametrize(("stored", "taken"), [("uint8", "uint8"), ("int64", "int32"), ("bool", "bool")])
def test_whole_numbers_go_into_an_input_that_holds_them(stored: str, taken: str) -> None:
    """Sources give uint8 and bool as floats of the same value."""
    x = np.arange(18).reshape(9, 2) % 2 if stored == "bool" else np.arange(18).reshape(9, 2)
    check_data(from_arrays(x.astype(stored), Y[:9]), None, signature(2, dtype=taken))


@pytest.mark.parametrize(
    ("x", "taken", "said"),
    [
        (np.full((9, 2), 0.5, np.float32), "uint8", "float32 such as 0.5, the input 'input' is uint8"),
        (np.full((9, 2), 300, np.int64), "uint8", "int64 such as 300, the input 'input' is uint8"),
        (np.full((9, 2), 3, np.uint8), "bool", "such as 3, the input 'input' is bool"),
    ],
)
def test_values_that_an_input_does_not_hold_are_told(x: Any, taken: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_data(from_arrays(x, Y[:9]), None, signature(2, dtype=taken))


def test_labels_beyond_the_outputs_are_told() -> None:
    y = Y.copy()
    y[77] = 7
    with pytest.raises(
        DataError, match="label 7 of sample 77 is out of range: the network has 3 outputs; allowed: 0 to 2"
    ):
        check_data(from_arrays(X, y), None, signature(4, 4, 1))


def test_negative_labels_are_told() -> None:
    y = Y.copy()
    y[5] = -1
    with pytest.raises(DataError, match="label -1 of sample 5 is out of range"):
        check_data(from_arrays(X, y), metric="top1")


def test_labels_of_one_class_are_told() -> None:
    with pytest.raises(DataError, match="every label is 2"):
        check_data(from_arrays(X, np.full(200, 2)))


def test_outputs_that_are_no_class_scores_do_not_limit_labels() -> None:
    boxes = Signature(signature(4, 4, 1).inputs, (TensorSpec("boxes", "float32", (1, 10, 4)),))
    assert check_data(from_arrays(X, Y + 50), None, boxes) == ()
