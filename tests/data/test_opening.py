from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import from_arrays, open_source, opening
from edgekit.errors import DataError
from edgekit.types import Preprocess


def test_digits_out_of_the_file_are_those_that_their_package_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = open_source("digits", Preprocess(), tmp_path)
    monkeypatch.setattr(opening, "_stored_digits", lambda: None)
    loaded = open_source("digits", Preprocess(), tmp_path)
    assert read.digest == loaded.digest
    places = np.arange(len(loaded))
    assert np.array_equal(read.take(places).inputs[0], loaded.take(places).inputs[0])


def test_digits_are_grey_images_between_zero_and_one(tmp_path: Path) -> None:
    source = open_source("digits", Preprocess(), tmp_path)
    batch = source.take(np.arange(100))
    assert len(source) == 1797
    assert batch.inputs[0].shape == (100, 1, 8, 8)
    assert batch.inputs[0].dtype == np.float32
    assert (batch.inputs[0].min(), batch.inputs[0].max()) == (0, 1)


@pytest.mark.parametrize("spec", ["mnist", "data.csv", "nowhere/"])
def test_unknown_source_says_what_is_allowed(spec: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder; allowed: an \.npz file.*digits"):
        open_source(spec, Preprocess(), tmp_path)


def test_existing_file_of_unknown_kind_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "data.csv").touch()
    with pytest.raises(DataError, match="is not a data source; allowed"):
        open_source(tmp_path / "data.csv", Preprocess(), tmp_path)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="3 samples but 2 labels"):
        from_arrays(np.zeros((3, 2)), np.zeros(2, int))


def test_two_inputs_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="different lengths, 3 and 4"):
        from_arrays((np.zeros((3, 2)), np.zeros((4, 2))))


def test_empty_arrays_are_refused() -> None:
    with pytest.raises(DataError, match="is empty"):
        from_arrays(np.zeros((0, 2)))


def test_objects_are_refused() -> None:
    with pytest.raises(DataError, match="allowed: numbers"):
        from_arrays(np.array(["a", "b"]))


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(DataError, match="gave a dict; allowed: numpy arrays"):
        from_arrays({"x": 1})  # type: ignore[arg-type]


def test_torch_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    source = from_arrays(torch.ones(3, 2, requires_grad=True), torch.tensor([0, 1, 0]))
    assert np.array_equal(source.take(np.array([1])).inputs[0], np.ones((1, 2), np.float32))


def test_equal_arrays_have_equal_digests_and_others_do_not() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    digests = [
        from_arrays(x, y).digest,
        from_arrays(x.copy(), y).digest,
        from_arrays(x, 1 - y).digest,
        from_arrays(x.reshape(3, 1, 2), y).digest,
        from_arrays(x, y, preprocess=Preprocess(scale=2)).digest,
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_one_dimensional_labels_in_a_column_are_taken() -> None:
    source = from_arrays(np.zeros((2, 2)), np.array([[0], [1]]))
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1]
