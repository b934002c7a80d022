"""Labels as people store them: what each array becomes, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import check_data, from_arrays, make_splits, open_source
from edgekit.data.labels import as_labels
from edgekit.errors import DataError
from edgekit.types import Preprocess, Signature, TensorSpec

X = np.random.default_rng(0).standard_normal((120, 3, 4, 4)).astype(np.float32)
NUMBERS = np.arange(120) % 4
NAMES = ("cat", "dog", "fish", "owl")


def network(*output: int) -> Signature:
    return Signature((TensorSpec("x", "float32", (1, 3, 4, 4)),), (TensorSpec("y", "float32", (1, *output)),))


@pytest.mark.parametrize(
    "stored",
    [
        NUMBERS,
        NUMBERS.astype(np.float32),
        NUMBERS.astype(np.uint8),
        NUMBERS.astype(">i8"),
        NUMBERS[:, None],
        np.eye(4, dtype=np.float32)[NUMBERS],
        np.eye(4, dtype=bool)[NUMBERS],
        np.array(NAMES)[NUMBERS],
        np.array([name.encode() for name in NAMES])[NUMBERS],
    ],
)
def test_class_numbers_in_every_form(stored: np.ndarray) -> None:
    labels = as_labels("data", stored, NAMES)
    assert labels.dtype == np.int64
    assert np.array_equal(labels, NUMBERS)


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (np.random.default_rng(0).random(120), np.float32),
        (np.random.default_rng(0).random((120, 4)).astype(np.float16), np.float32),
        (np.random.default_rng(0).integers(0, 640, (120, 7, 4)), np.int64),
        (np.random.default_rng(0).integers(0, 4, (120, 4, 4)).astype(np.uint8), np.uint8),
        (np.random.default_rng(0).integers(0, 2, (120, 4)), np.int64),
    ],
)
def test_targets_boxes_and_maps_stay_what_they_are(stored: np.ndarray, dtype: type) -> None:
    labels = as_labels("data", stored)
    assert labels.dtype == dtype
    assert labels.shape == stored.shape
    assert np.allclose(labels, stored, atol=1e-3)


@pytest.mark.parametrize(
    ("stored", "classes", "said"),
    [
        (np.array(NAMES)[NUMBERS], None, "which output is whose is written nowhere; give all names"),
        (np.array(NAMES)[NUMBERS], NAMES[:3], "'owl' is not among the 3 classes"),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), None, "labels are of type datetime64"),
        (np.array([0.5, np.nan]), None, "the label of sample 1 holds NaN"),
        (np.array([["a", "b"]]), NAMES, "allowed: one name per sample"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    stored: np.ndarray, classes: tuple[str, ...] | None, said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        as_labels("data", stored, classes)
    assert "\n" not in str(caught.value)


def test_names_follow_the_list_and_the_digest_follows_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=np.array(NAMES)[NUMBERS])
    forth, back = (
        open_source(tmp_path / "d.npz", Preprocess(), tmp_path, names) for names in (NAMES, NAMES[::-1])
    )
    assert np.array_equal(forth.labels, NUMBERS)
    assert np.array_equal(back.labels, 3 - NUMBERS)
    assert forth.digest != back.digest


def test_one_hot_is_judged_over_all_parts(tmp_path: Path) -> None:
    """Rows of several classes in one part make all of them flags, as a factory's batches do."""
    flags = np.eye(4, dtype=np.int64)[NUMBERS]
    flags[100, :2] = 1
    np.savez(tmp_path / "d.npz", x_train=X[:80], y_train=flags[:80], x_val=X[80:], y_val=flags[80:])
    (tmp_path / "d.py").write_text(
        "import numpy as np\n"
        "def make():\n"
        f"    a = np.load({str(tmp_path / 'd.npz')!r})\n"
        "    return [(a['x_train'], a['y_train']), (a['x_val'], a['y_val'])]\n"
    )
    for spec in ("d.npz", "d.py:make"):
        source = open_source(str(tmp_path / spec), Preprocess(), tmp_path)
        assert np.array_equal(source.labels, flags)


@pytest.mark.parametrize(
    ("label", "shape"),
    [("x[0, 0, :3]", (120, 3)), ("'owl'", (120,)), ("[1.5, 2.5]", (120, 2)), ("7", (120,))],
)
def test_labels_of_a_dataset_are_kept_whole(tmp_path: Path, label: str, shape: tuple[int, ...]) -> None:
    (tmp_path / "d.py").write_text(
        "import numpy as np\n"
        "X = np.arange(120 * 48, dtype=np.float32).reshape(120, 3, 4, 4)\n"
        "class Set:\n"
        "    def __len__(self): return 120\n"
        f"    def __getitem__(self, i):\n        x = X[i]\n        return x, {label}\n"
        "def make(): return Set()\n"
    )
    source = open_source(f"{tmp_path / 'd.py'}:make", Preprocess(), tmp_path, NAMES)
    assert source.labels is not None
    assert source.labels.shape == shape


def test_ragged_boxes_are_told_how_to_come(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(
        "import numpy as np\n"
        "def make(): return [(np.zeros((2, 3, 4, 4), np.float32), [[[1, 2, 3, 4]], [[1, 2, 3, 4], [5, 6, 7, 8]]])]\n"
    )
    with pytest.raises(DataError, match="several lengths; allowed: labels of one shape; pad"):
        open_source(f"{tmp_path / 'd.py'}:make", Preprocess(), tmp_path)


def test_labels_out_of_range_are_told_of_classes_alone() -> None:
    source = from_arrays(X, np.arange(120))
    with pytest.raises(
        DataError, match="label 119 of sample 119 is out of range: the network has 10 outputs"
    ):
        check_data(source, signature=network(10))
    assert check_data(source, signature=network(10), metric="own.py:error") == ()
    assert check_data(source, signature=network(1)) == ()  # one value for each sample: a regression
    assert check_data(from_arrays(X, np.arange(120) - 60.0), signature=network(1)) == ()


@pytest.mark.parametrize(
    "labels", [np.random.default_rng(0).random((120, 3)), np.zeros((120, 4, 4), np.int64)]
)
def test_splits_of_targets_and_maps_are_made(labels: np.ndarray) -> None:
    splits = make_splits(from_arrays(X, labels), seed=0, calibration_samples=16)
    assert splits.test.labels is not None
    assert splits.test.labels.shape == (len(splits.test), *labels.shape[1:])
