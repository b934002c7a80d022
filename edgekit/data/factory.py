"""Data from Python: a factory's batches or a Dataset's samples, spooled to files: memory stays flat."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgekit.data.keyed import pair_of
from edgekit.data.labels import as_labels
from edgekit.data.loaders import in_order, refuse_random
from edgekit.data.rows import FileRows
from edgekit.data.stored import StoredSource, check_rows, combined_digest
from edgekit.errors import DataError, StoreError
from edgekit.files import sha256_file
from edgekit.reference import UserCode, locate_reference, using_reference
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_array", "as_label_array", "from_object", "is_array", "open_factory"]

PARTS = ("train", "val", "test")
ALLOWED = "batches (x, y) or x, arrays, a Dataset with __len__ and __getitem__, a DataLoader, a dict of these by part"

Arrays = tuple["NDArray[np.generic]", ...]


def open_factory(
    spec: str, preprocess: Preprocess, cache: Path, classes: Sequence[str] | None = None
) -> StoredSource:
    """Call `file.py:factory` and spool what it gives into `cache`, named by content.

    The factory runs on every opening: nobody else can know whether it would give the same again.
    """
    reference = locate_reference(spec, DataError)
    with using_reference(reference, DataError) as factory:
        if not callable(factory):
            raise DataError(f"{spec} is a {type(factory).__name__}", allowed="a function without arguments")
        with UserCode(f"the factory {spec}", DataError):
            data = factory()
        return from_object(data, spec, preprocess, cache, classes)


def from_object(
    data: object, name: str, preprocess: Preprocess, cache: Path, classes: Sequence[str] | None = None
) -> StoredSource:
    """Spool what a factory may give: batches, a Dataset, a DataLoader, or a dict of these by part. Raises DataError."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".spool-") as folder:
            content = Path(folder) / "content"
            content.mkdir()
            return _spool(name, data, preprocess, cache, content, classes)
    except OSError as problem:
        raise StoreError(f"{cache} cannot be written: {problem.strerror or problem}") from problem


def _spool(
    spec: str,
    data: object,
    preprocess: Preprocess,
    cache: Path,
    folder: Path,
    classes: Sequence[str] | None,
) -> StoredSource:
    parts = {str(key): part for key, part in data.items()} if isinstance(data, Mapping) else {"": data}
    if "" not in parts and (not parts or any(part not in PARTS for part in parts)):
        raise DataError(f"{spec} gave a dict of {', '.join(parts) or 'nothing'}", allowed=", ".join(PARTS))
    ranges: dict[str, range] = {}
    with _Writer(spec, folder) as writer:
        for part, content in parts.items():
            start = writer.length
            with UserCode(f"reading from {spec}", DataError):
                for inputs, labels in _batches(spec, content):
                    writer.add(inputs, labels)
            ranges[part] = range(start, writer.length)
    digest = writer.digest.hexdigest()
    if writer.length == 0:
        raise DataError(f"{spec} gave no samples")
    place = cache / digest
    _keep(folder, place)
    rows = tuple(
        FileRows(place / f"{index}.bin", 0, dtype, (writer.length, *shape))
        for index, (dtype, shape) in enumerate(writer.layout)
    )
    joined = as_labels(spec, np.concatenate(writer.labels), classes) if writer.labels else None
    check_rows(spec, rows, joined)
    named = {} if "" in ranges else {part: ranges[part] for part in PARTS if part in ranges}
    return StoredSource(spec, combined_digest(digest, preprocess, joined), rows, joined, preprocess, named)


def _keep(fresh: Path, place: Path) -> None:
    """Put what was just spooled in its place; of what is there already, whatever differs from it is replaced."""
    if place.is_symlink() or (os.path.lexists(place) and not place.is_dir()):
        raise StoreError(f"{place} is not a plain folder: move it away, or give another --store")
    try:
        os.rename(fresh, place)
    except OSError:
        # Another process, or an earlier run, put the same content there.
        if not place.is_dir():
            raise
        for path in sorted(fresh.iterdir()):
            if not _is_same(path, place / path.name):
                os.replace(path, place / path.name)


def _is_same(fresh: Path, stored: Path) -> bool:
    is_plain = stored.is_file() and not stored.is_symlink()
    return (
        is_plain
        and stored.stat().st_size == fresh.stat().st_size
        and sha256_file(stored) == sha256_file(fresh)
    )


class _Writer:
    """Appends batches to one file per input and hashes what it writes."""

    def __init__(self, spec: str, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.digest = hashlib.sha256()
        self.length = 0
        self.layout: list[tuple[np.dtype[np.generic], tuple[int, ...]]] = []
        self.labels: list[NDArray[np.generic]] = []
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def add(self, inputs: Arrays, labels: NDArray[np.generic] | None) -> None:
        if not self._files:
            for index, array in enumerate(inputs):
                if array.ndim == 0 or array.dtype.kind not in "iufb":
                    raise DataError(
                        f"{self.spec} gave {array.dtype} {list(array.shape)}", allowed="batches of numbers"
                    )
                self.layout.append((array.dtype, array.shape[1:]))
                path = self.folder / f"{index}.bin"
                self._files.append(self._stack.enter_context(path.open("wb")))
            self.digest.update(repr([(str(dtype), shape) for dtype, shape in self.layout]).encode())
        layout = [(array.dtype, array.shape[1:]) for array in inputs]
        if layout != self.layout or len({len(array) for array in inputs}) != 1:
            raise DataError(
                f"{self.spec}: the batch at sample {self.length} is {_text(layout)}, "
                f"the first was {_text(self.layout)}"
            )
        count = len(inputs[0])
        if (labels is None) != (not self.labels) and self.length:
            raise DataError(f"{self.spec}: some batches have labels, others have none")
        if labels is not None:
            self._add_labels(labels, count)
        for file, array in zip(self._files, inputs, strict=True):
            content = np.ascontiguousarray(array).tobytes()
            file.write(content)
            self.digest.update(content)
        self.length += count

    def _add_labels(self, labels: NDArray[np.generic], count: int) -> None:
        """As they come: what they are is told by all of them."""
        if labels.ndim == 0 or len(labels) != count:
            came = "one label" if labels.ndim == 0 else f"{len(labels)} labels"
            raise DataError(f"{self.spec}: a batch of {count} samples has {came}")
        first = self.labels[0] if self.labels else labels
        if labels.shape[1:] != first.shape[1:] or (labels.dtype.kind in "US") != (first.dtype.kind in "US"):
            raise DataError(
                f"{self.spec}: the labels at sample {self.length} are {labels.dtype} {list(labels.shape[1:])} each, "
                f"the first were {first.dtype} {list(first.shape[1:])}",
                allowed="labels of one shape",
                remedy="pad what differs in length (boxes)",
            )
        self.labels.append(labels)


def _text(layout: Sequence[tuple[np.dtype[np.generic], tuple[int, ...]]]) -> str:
    return ", ".join(f"{dtype} {list(shape)}" for dtype, shape in layout)


def _batches(spec: str, data: object) -> Iterator[tuple[Arrays, NDArray[np.generic] | None]]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.utils.data.DataLoader):
        data = in_order(spec, data)
    streams = torch is not None and isinstance(data, torch.utils.data.IterableDataset)
    if is_array(data) or _is_pair(data):
        yield _split(spec, data)  # all of it at once
        return
    if isinstance(data, Iterable) and not streams and not isinstance(data, (str, bytes)):
        for batch in data:
            yield _split(spec, batch)
        return
    samples: Iterable[Any]
    if streams and isinstance(data, Iterable):
        samples = data
    elif isinstance(data, Sized) and callable(getter := getattr(type(data), "__getitem__", None)):
        refuse_random(spec, data, getter)
        samples = (getter(data, index) for index in range(len(data)))
    else:
        raise DataError(f"{spec} gave a {type(data).__name__}", allowed=ALLOWED)
    for sample in samples:
        inputs, label = _split(spec, sample)
        yield tuple(array[None] for array in inputs), None if label is None else label[None]


def _is_pair(data: object) -> bool:
    """(x, y) or ((x1, x2), y) of arrays. As two batches the second of these would have no labels, the first some."""
    if not (isinstance(data, tuple) and len(data) == 2 and is_array(data[1])):
        return False
    x = data[0]
    return is_array(x) or (isinstance(x, (tuple, list)) and len(x) > 0 and all(map(is_array, x)))


def is_array(value: object) -> bool:
    """Whether it is a numpy array or a torch tensor."""
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _split(spec: str, item: object) -> tuple[Arrays, NDArray[np.generic] | None]:
    """(x, y), ((x1, x2), y), {"x": x, "label": y} or x alone."""
    if isinstance(item, Mapping):
        return _split(spec, pair_of(spec, item))
    if isinstance(item, (tuple, list)):
        if len(item) == 1:
            return _split(spec, item[0])
        if len(item) != 2:
            raise DataError(
                f"{spec} gave a {type(item).__name__} of {len(item)}", allowed="(x, y), ((x1, x2), y) or x"
            )
        x, y = item
        inputs = x if isinstance(x, (tuple, list)) else (x,)
        return tuple(as_array(spec, value) for value in inputs), None if y is None else as_label_array(
            spec, y
        )
    return (as_array(spec, item),), None


def as_array(name: str, value: object) -> NDArray[np.generic]:
    """A numpy array or torch tensor as a numpy array. Raises DataError for anything else, and for objects."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        array: NDArray[np.generic] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return array
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        return np.asarray(value)
    is_image = callable(getattr(value, "convert", None))  # Pillow's, which is not imported for this
    remedy = "make it numbers, as the network takes them: a ToTensor() in its transforms" if is_image else ""
    raise DataError(
        f"{name} gave a {type(value).__name__}", allowed="numpy arrays or torch tensors", remedy=remedy
    )


def as_label_array(name: str, value: object) -> NDArray[np.generic]:
    """Labels as an array: also names, and lists of names, numbers or lists of one length. Raises DataError."""
    if isinstance(value, str):
        return np.asarray(value)
    if not isinstance(value, (list, tuple)):
        return as_array(name, value)
    try:
        return np.asarray([as_label_array(name, item) for item in value])
    except ValueError as problem:
        raise DataError(
            f"{name}: labels are lists of several lengths",
            allowed="labels of one shape",
            remedy="pad what differs in length (boxes)",
        ) from problem
