"""What every source of samples must do, for its tests and for those of a plug-in."""

from __future__ import annotations

import numpy as np

from edgekit.data.base import DataSource
from edgekit.types import Preprocess

__all__ = ["check_data_source"]


def check_data_source(source: DataSource) -> None:
    """Raises AssertionError naming the first rule that `source` breaks. It needs two samples at least."""
    length = len(source)
    assert length >= 2, "the contract needs two samples"
    assert source.name, "a source has a name"
    assert len(source.digest) == 64, "the digest is a SHA-256 in hexadecimal"
    assert int(source.digest, 16) >= 0, "the digest is a SHA-256 in hexadecimal"
    assert source.digest == source.digest, "the digest is stable"
    assert isinstance(source.preprocess, Preprocess), "`preprocess` says what `take` does"
    _check_labels(source)
    _check_parts(source)
    _check_take(source)


def _check_labels(source: DataSource) -> None:
    labels = source.labels
    assert source.labelled == (labels is not None), "`labelled` says whether there are labels"
    if labels is None:
        assert source.take(np.array([0])).labels is None, "a source without labels gives none"
        return
    assert len(labels) == len(source), "there is one label per sample"
    assert labels.dtype.kind in "iu" or labels.dtype == np.float32, "labels are whole numbers, or float32"
    assert labels.ndim > 1 or labels.dtype.kind != "i" or labels.dtype == np.int64, "class numbers are int64"
    if source.classes is not None and labels.ndim == 1:
        assert labels.max() < len(source.classes), "every label has a class name"


def _check_parts(source: DataSource) -> None:
    seen: set[int] = set()
    for name, indices in source.parts.items():
        assert name in ("train", "val", "test"), f"{name} is not a part"
        assert len(indices) > 0, f"part {name} is empty"
        assert 0 <= min(indices) <= max(indices) < len(source), f"part {name} lies within the source"
        assert not seen & set(indices), f"part {name} shares samples with another"
        seen |= set(indices)


def _check_take(source: DataSource) -> None:
    last = len(source) - 1
    indices = np.array([last, 0, last, 1], dtype=np.int64)
    batch = source.take(indices)
    assert len(batch.inputs) >= 1, "there is at least one input"
    for array in batch.inputs:
        assert isinstance(array, np.ndarray), "inputs are numpy arrays"
        assert array.dtype in (np.float32, np.int32, np.int64), "inputs are float32, or whole numbers"
        assert array.flags.c_contiguous, "inputs are contiguous"
        assert len(array) == len(indices), "samples come in the number asked for"
        assert np.array_equal(array[0], array[2]), "one index gives one sample, however often"
    if source.labels is not None:
        assert batch.labels is not None, "a labelled source gives labels"
        assert np.array_equal(batch.labels, source.labels[indices]), "labels come in the order asked for"
    for position, index in enumerate(indices):
        alone = source.take(np.array([index], dtype=np.int64))
        for together, single in zip(batch.inputs, alone.inputs, strict=True):
            assert np.array_equal(together[position], single[0]), "a sample does not depend on its batch"
    again = source.take(indices)
    for first, second in zip(batch.inputs, again.inputs, strict=True):
        assert np.array_equal(first, second), "taking twice gives the same"
