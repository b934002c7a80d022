"""Everything that can be wrong with data is found before any work is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.classes import class_count, class_numbers, classes_without_samples
from edgekit.data.images import ImageFolderSource
from edgekit.data.rows import chunks
from edgekit.data.splits import Splits
from edgekit.data.stored import StoredSource
from edgekit.errors import DataError
from edgekit.types import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.base import DataSource

__all__ = ["check_data", "check_values"]

CHUNK_BYTES = 16 << 20


def check_data(
    source: DataSource,
    splits: Splits | None = None,
    signature: Signature | None = None,
    metric: str | None = None,
) -> tuple[str, ...]:
    """Raises DataError for data that cannot be used; returns warnings.

    Checks: finite values (streaming; skipped where the stored type has no NaN). Where the labels are class numbers and
    `metric` (None: not said) judges them so: more than one class, all named where there are names. With a signature
    also the shape and type of the samples and the range of the class numbers.
    """
    if len(source) == 0:
        raise DataError(f"{source.name} is empty")
    if signature is not None:
        _check_inputs(source, signature)
    warnings = _check_labels(source, splits, signature, metric)
    _check_finite(source)
    told = source.warnings if isinstance(source, ImageFolderSource) else ()
    return (*told, *warnings)


def _check_inputs(source: DataSource, signature: Signature) -> None:
    arrays = source.take(np.zeros(1, np.int64)).inputs
    if len(arrays) != len(signature.inputs):
        raise DataError(
            f"{source.name} has {len(arrays)} inputs per sample, the network takes {len(signature.inputs)}: "
            + ", ".join(spec.name for spec in signature.inputs),
            remedy="a sample is a tuple of its inputs, in this order" if len(signature.inputs) > 1 else "",
        )
    for array, spec in zip(arrays, signature.inputs, strict=True):
        if not _fits(array.shape[1:], spec):
            wanted = [size if size is not None else "any" for size in spec.shape[1:]]
            raise DataError(
                f"{source.name}: samples become {list(array.shape[1:])}, the network takes {wanted}",
                remedy=_remedy(array.shape[1:], spec),
            )
        check_values(array, spec, source.name)


def check_values(samples: NDArray[np.generic], spec: TensorSpec, name: str) -> None:
    """Whole numbers from 0 to 255 that stand in floats are a uint8 input's; anything that a cast would change is not.

    `samples` [N, ...]. Raises DataError where the input's type cannot hold them.
    """
    kind, stored = np.dtype(spec.dtype), samples.dtype
    if kind.kind == stored.kind == "f" or kind == stored:
        return
    if kind.kind == "f" or not _casts(samples, kind):
        raise DataError(
            f"{name}: samples are {stored}{_example(samples, kind)}, the input {spec.name!r} is {spec.dtype}",
            remedy=f"store them as {spec.dtype}, and leave out --scale, --mean and --std",
        )


def _casts(samples: NDArray[np.generic], kind: np.dtype[np.generic]) -> bool:
    """Whether every value is the same in that type."""
    values = samples.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a value that does not fit
        return bool(np.array_equal(values.astype(kind).astype(np.float64), values))


def _example(samples: NDArray[np.generic], kind: np.dtype[np.generic]) -> str:
    """The first value that the type cannot hold."""
    for value in samples.ravel():
        if kind.kind != "f" and not _casts(np.asarray(value), kind):
            return f" such as {value:g}"
    return ""


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    wanted = spec.shape[1:]
    return len(wanted) == len(shape) and all(
        want is None or want == size for want, size in zip(wanted, shape, strict=True)
    )


def _remedy(shape: tuple[int, ...], spec: TensorSpec) -> str:
    if len(shape) == 3 and _fits((shape[2], shape[0], shape[1]), spec):
        return "set input_layout to nhwc"
    if len(shape) == 3 and len(spec.shape) == 4 and (shape[0], spec.shape[1]) in ((1, 3), (3, 1)):
        return f"set channels to {'grey' if shape[0] == 3 else 'rgb (or bgr)'}: --channels"
    if len(shape) == 3 and len(spec.shape) == 4:
        height, width = spec.shape[2:]
        if height and width and shape[0] == spec.shape[1] and shape[0] in (1, 3):
            return f"set resize or crop: --resize {width}x{height} (--letterbox keeps proportions)"
        return "are input_layout, resize and crop right?"
    return "are these the data of this network?"


def _check_labels(
    source: DataSource, splits: Splits | None, signature: Signature | None, metric: str | None
) -> list[str]:
    labels, classes = class_numbers(source, metric), class_count(signature)
    if labels is None or (metric is None and signature is not None and classes is None):
        return []  # not judged as classes
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 and (metric is not None or signature is not None):
        raise DataError(
            f"{source.name}: label {lowest} of sample {int(labels.argmin())} is out of range",
            allowed="0, 1, 2, ...",
        )
    if classes is not None and highest >= classes:
        raise DataError(
            f"{source.name}: label {highest} of sample {int(labels.argmax())} is out of range: "
            f"the network has {classes} outputs",
            allowed=f"0 to {classes - 1}",
            remedy="or say how they are judged: --metric file.py:function",
        )
    if lowest == highest:
        raise DataError(
            f"{source.name}: every label is {lowest}", allowed="labels of two classes or more, or no labels"
        )
    warnings = list(classes_without_samples(source, metric))
    for split in splits.all() if splits else ():
        own = split.labels
        if own is not None and len(own) and int(own.min()) == int(own.max()):
            warnings.append(f"every label of the {split.name} split is {int(own.min())}")
    return warnings


def _check_finite(source: DataSource) -> None:
    if isinstance(source, (StoredSource, ImageFolderSource)) and source.always_finite:
        return
    sample = source.take(np.zeros(1, np.int64)).inputs
    size = max(1, CHUNK_BYTES // max(1, sum(array.nbytes for array in sample)))
    for indices in chunks(len(source), size):
        for array in source.take(indices).inputs:
            bad = _first_bad(array)
            if bad is not None:
                raise DataError(
                    f"{source.name}: sample {int(indices[bad])} holds NaN or infinity",
                    remedy="remove or repair such samples",
                )


def _first_bad(array: NDArray[np.generic]) -> int | None:
    if array.dtype.kind != "f":
        return None
    finite = np.isfinite(array.astype(np.float32, copy=False)).reshape(len(array), -1).all(axis=1)
    return None if finite.all() else int(np.argmin(finite))
