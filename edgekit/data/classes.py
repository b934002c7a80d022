"""The names of classes: a file of them, and whether data, names and network speak of the same classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import DataError
from edgekit.files import expanded
from edgekit.labels import NUMBER_METRICS, holds_scores
from edgekit.types import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.base import DataSource

__all__ = [
    "check_names",
    "class_count",
    "class_numbers",
    "classes_without_samples",
    "compare_classes",
    "read_classes",
]

MOST_TOLD = 5


def read_classes(path: Path) -> tuple[str, ...]:
    """The names in a text file (UTF-8), one a line; a line's number from 0 is the label. Raises DataError."""
    try:
        lines = expanded(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} is not text", allowed="UTF-8, one name a line") from problem
    names = tuple(line.strip() for line in lines)
    check_names(str(path), names)
    return names


def check_names(where: str, names: Sequence[str]) -> None:
    """Raises DataError for no names, an empty one, or the same name twice."""
    if not names:
        raise DataError(f"{where} names no classes", allowed="one name for every class, in label order")
    first: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name:
            raise DataError(f"{where}: class {label} has no name", allowed="one name for every class")
        if not _is_unicode(name):
            raise DataError(f"{where}: the name {name!r} is not UTF-8", remedy="rename it")
        if first.setdefault(name, label) != label:
            raise DataError(
                f"{where}: {name!r} is class {first[name]} and class {label}", allowed="different names"
            )


def _is_unicode(name: str) -> bool:
    """Whether it can be written down; a file name that is not UTF-8 comes with surrogates in it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def class_count(signature: Signature | None) -> int | None:
    """The number of classes, where the network has one output of class scores [1, K] (or [1, K, 1, 1])."""
    if signature is None or len(signature.outputs) != 1:
        return None
    shape = signature.outputs[0].shape
    sizes = [size for size in shape[1:] if size is not None]
    return max(sizes) if len(sizes) == len(shape) - 1 and holds_scores((1, *sizes)) else None


def class_numbers(source: DataSource, metric: str | None) -> NDArray[np.generic] | None:
    """The labels where they are judged as class numbers [N]; None where they are not, or are judged otherwise."""
    labels = source.labels
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return None
    return labels if metric is None or metric in NUMBER_METRICS else None


def classes_without_samples(source: DataSource, metric: str | None = None) -> tuple[str, ...]:
    """A warning where classes that have a name have no sample. Raises DataError for a label without a name."""
    labels, names = class_numbers(source, metric), source.classes
    if labels is None or names is None:
        return ()
    if labels.max() >= len(names):
        raise DataError(
            f"{source.name}: label {labels.max()} of sample {labels.argmax()} has no name",
            allowed=f"0 to {len(names) - 1}, as {len(names)} classes are named",
        )
    present = np.zeros(len(names), bool)
    present[labels] = True
    absent = [f"{names[label]!r} (label {label})" for label in np.flatnonzero(~present)]
    if not absent:
        return ()
    told = ", ".join(absent[:MOST_TOLD]) + (", …" if len(absent) > MOST_TOLD else "")
    return (f"{source.name} has no sample of {len(absent)} of its {len(names)} classes: {told}",)


def compare_classes(source: DataSource, signature: Signature, metric: str | None = None) -> tuple[str, ...]:
    """A warning where the data knows another number of classes than the network has outputs."""
    labels, outputs = class_numbers(source, metric), class_count(signature)
    if labels is None or outputs is None:
        return ()
    known = int(labels.max()) + 1 if source.classes is None else len(source.classes)
    if known == outputs:
        return ()
    remedy = "" if source.classes is None else "; --classes FILE gives all names in the network's order"
    return (
        f"{source.name} knows {known} classes, the network has {outputs} outputs: label 0 is taken for the first "
        f"output, and so on{remedy}",
    )
