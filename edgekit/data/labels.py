"""Labels as people store them → class numbers, maps of class numbers, or targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_labels", "no_order"]

SHOWN = 4


def as_labels(
    name: str, values: NDArray[np.generic], classes: Sequence[str] | None = None
) -> NDArray[np.generic]:
    """Labels of one array [N, ...], by its type and shape.

    - whole numbers [N] or [N, 1], also stored as floats: class numbers, int64 [N];
    - [N, K] with a single 1 and zeros in each row (one-hot): class numbers, int64 [N];
    - names [N]: class numbers by their places in `classes`, int64 [N]; refused without, as any order of their own
      would be a guess;
    - other whole numbers [N, ...] (maps, boxes in pixels): as they are stored;
    - other floats [N, ...] (targets, boxes): float32.

    Raises DataError for anything else, NaN and infinity included.
    """
    if values.ndim == 0:
        raise DataError(f"{name}: the labels are a single value", allowed="one label per sample, [N, ...]")
    if values.dtype.kind in "US":
        return _numbered(name, values, classes)
    if values.dtype.kind not in "iubf":
        raise DataError(
            f"{name}: labels are of type {values.dtype}",
            allowed="numbers, or names of classes",
            remedy="pad what differs in length (boxes) to one shape",
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{name}: the label of sample {_first_bad(values)} holds NaN or infinity")
    array: NDArray[Any] = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if array.ndim == 1 and (array.dtype.kind != "f" or bool((array == np.round(array)).all())):
        numbers: NDArray[np.int64] = array.astype(np.int64)
        return numbers
    if array.ndim == 2 and _is_one_hot(array):
        return np.asarray(np.argmax(array, axis=1), np.int64)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    kept: NDArray[np.generic] = values.astype(np.uint8) if values.dtype.kind == "b" else values
    return kept


def no_order(name: str, told: str = "") -> DataError:
    """What is said of labels that are names without their order; `told`: some of them, in brackets."""
    return DataError(
        f"{name}: labels are names{told}, and which output is whose is written nowhere",
        remedy="give all names in the order of the network's outputs: --classes FILE, one a line (classes=[...] in "
        "Python), or an array `classes` in the .npz",
    )


def _is_one_hot(array: NDArray[Any]) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (np.count_nonzero(array, axis=1) == 1).all())


def _first_bad(values: NDArray[np.generic]) -> int:
    return int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))


def _numbered(name: str, values: NDArray[np.generic], classes: Sequence[str] | None) -> NDArray[np.int64]:
    texts: NDArray[Any] = np.asarray(values)
    if texts.dtype.kind == "S":
        texts = np.char.decode(texts, "utf-8", "replace")
    texts = texts[:, 0] if texts.ndim == 2 and texts.shape[1] == 1 else texts
    if texts.ndim != 1:
        raise DataError(f"{name}: labels are names {list(values.shape)}", allowed="one name per sample: [N]")
    known, places = np.unique(texts, return_inverse=True)
    names = [str(text) for text in known]
    if classes is None:
        told = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        raise no_order(name, f" ({told})")
    strange = [text for text in names if text not in classes]
    if strange:
        raise DataError(
            f"{name}: the label {strange[0]!r} is not among the {len(classes)} classes that are named",
            remedy="name it as the list does",
        )
    return np.array([list(classes).index(text) for text in names], np.int64)[places]
