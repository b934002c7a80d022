"""From what the user names to a source of samples."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.classes import check_names
from edgekit.data.factory import as_array, as_label_array, from_object, is_array, open_factory
from edgekit.data.images import open_images
from edgekit.data.labels import as_labels
from edgekit.data.npz import check_members, open_npz
from edgekit.data.preprocess import check_preprocess
from edgekit.data.rows import ArrayRows, chunks
from edgekit.data.stored import StoredSource, check_rows, combined_digest
from edgekit.errors import DataError, MissingExtraError
from edgekit.files import expanded
from edgekit.reference import is_reference, locate_reference
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.base import DataSource

__all__ = ["check_place", "from_arrays", "from_python", "open_source"]

ALLOWED = "an .npz file, a folder of images, file.py:factory, package.module:factory, or digits"
HASHED_ROWS = 256


def open_source(
    spec: str | Path, preprocess: Preprocess, cache: Path, classes: Sequence[str] | None = None
) -> DataSource:
    """Open the data that `spec` names; `cache` takes what has to be unpacked. Raises DataError.

    `classes`: names in label order. They number the folders of images, and name the labels of all else.
    """
    check_preprocess(preprocess)
    if classes is not None:
        check_names("classes", classes)
    text = str(spec)
    path = expanded(text)
    if path.is_dir() and text != "digits":
        return open_images(path, preprocess, classes)
    if text == "digits":
        source = _digits(preprocess)
    elif path.suffix == ".npz":
        source = open_npz(path, preprocess, cache, classes)
    elif is_reference(text):
        source = open_factory(text, preprocess, cache, classes)
    else:
        raise _no_source(text, path)
    return source if classes is None else replace(source, classes=tuple(classes))


def check_place(spec: str | Path, *, named: bool = False) -> None:
    """What can be told of data without reading a sample or running a line of the user's. Raises DataError.

    `named`: whether the classes' names are given beside it.

    It takes milliseconds, so that a wrong name is told before a network is loaded.
    """
    text = str(spec)
    path = expanded(text)
    if text == "digits" or path.is_dir():
        return
    if path.suffix == ".npz":
        check_members(path, named=named)
    elif is_reference(text):
        locate_reference(text, DataError)
    else:
        raise _no_source(text, path)


def _no_source(text: str, path: Path) -> DataError:
    state = "" if path.exists() else ": no such file or folder"
    return DataError(f"{text!r} is not a data source{state}", allowed=ALLOWED)


def from_python(
    data: object, preprocess: Preprocess, cache: Path, classes: Sequence[str] | None = None
) -> DataSource:
    """What a Python caller gives as data: arrays or tensors x or (x, y), what a factory may give, or a source.

    `cache` takes what has to be spooled. Raises DataError.
    """
    check_preprocess(preprocess)
    if classes is not None:
        check_names("classes", classes)
    if all(hasattr(data, name) for name in ("digest", "take", "labels")):
        source: DataSource = data  # type: ignore[assignment]
        if classes is not None or preprocess != Preprocess():
            what = "classes" if classes is not None else "preprocess"
            raise DataError(f"{what} is given beside a data source", remedy="let the source have it")
        return source
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DataError(f"data is a tuple of {len(data)}", allowed="(x, y), or (x, None) without labels")
        return from_arrays(data[0], data[1], preprocess=preprocess, classes=classes)
    if is_array(data):
        return from_arrays(as_array("data", data), None, preprocess=preprocess, classes=classes)
    stored = from_object(data, f"data ({type(data).__name__})", preprocess, cache, classes)
    return stored if classes is None else replace(stored, classes=tuple(classes))


def from_arrays(
    x: NDArray[np.generic] | Sequence[NDArray[np.generic]],
    y: NDArray[np.generic] | None = None,
    *,
    preprocess: Preprocess | None = None,
    parts: Mapping[str, range] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
) -> StoredSource:
    """Samples [N, ...] (a tuple of them for several network inputs) and labels [N, ...] from Python (see `as_labels`).

    numpy arrays, memory maps and torch tensors are taken as they are, not copied. Raises DataError.
    """
    preprocess = preprocess or Preprocess()
    check_preprocess(preprocess)
    given = x if isinstance(x, (tuple, list)) else (x,)
    inputs = tuple(ArrayRows(as_array(name, value)) for value in given)
    labels = None if y is None else as_labels(name, as_label_array(name, y), classes)
    if not inputs:
        raise DataError(f"{name} is empty", allowed="at least one input")
    check_rows(name, inputs, labels)
    digest = hashlib.sha256()
    for rows in inputs:
        digest.update(f"{rows.dtype} {rows.shape}\n".encode())
        for indices in chunks(rows.shape[0], HASHED_ROWS):
            digest.update(np.ascontiguousarray(rows.array[indices[0] : indices[-1] + 1]).tobytes())
    return StoredSource(
        name,
        combined_digest(digest.hexdigest(), preprocess, labels),
        inputs,
        labels,
        preprocess,
        dict(parts or {}),
        None if classes is None else tuple(classes),
    )


def _digits(preprocess: Preprocess) -> StoredSource:
    """scikit-learn's 1,797 hand-written digits: float32 [N, 1, 8, 8] in 0…1 (16 grey levels / 16)."""
    images, labels = _stored_digits() or _loaded_digits()
    x = (images[:, None] / 16).astype(np.float32)
    names = [str(number) for number in range(10)]
    return from_arrays(x, labels, preprocess=preprocess, classes=names, name="digits")


def _stored_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Out of scikit-learn's own file, whose package takes a second to import; None where it has no such file."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        return None
    rows = np.loadtxt(file, delimiter=",")  # 64 grey levels, and the digit
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def _loaded_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as problem:
        raise MissingExtraError("scikit-learn", "digits") from problem
    digits = load_digits()
    return digits.images, digits.target
