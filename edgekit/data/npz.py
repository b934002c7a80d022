"""`.npz` files: rows read straight out of the archive where they are stored uncompressed."""

from __future__ import annotations

import lzma
import math
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from edgekit.data.classes import check_names
from edgekit.data.labels import as_labels
from edgekit.data.rows import FileRows, JoinedRows, Rows
from edgekit.data.stored import StoredSource, check_rows, combined_digest
from edgekit.errors import DataError, StoreError
from edgekit.files import atomic_path, sha256_file
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_members", "open_npz"]

PARTS = ("train", "val", "test")
ALLOWED = "x and y; or x_train, y_train, x_val, y_val, x_test, y_test (labels may be absent)"
LOCAL_HEADER = 30
PIECE_BYTES = 1 << 20
LARGEST_READ_BYTES = 1 << 31
"""Of a member that is read as a whole (labels, names); samples stay in files."""

BAD_ARCHIVE = (
    zipfile.BadZipFile, EOFError, struct.error, zlib.error, lzma.LZMAError, RuntimeError, OverflowError, ValueError,
)  # fmt: skip
"""What zipfile raises on archives that are damaged, encrypted, or packed in a way it does not know."""

BAD_HEADER = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, SyntaxError, tokenize.TokenError, MemoryError,
    RecursionError,
)  # fmt: skip
"""What numpy raises on the header of a .npy: it is a literal of Python that is evaluated."""


def open_npz(
    path: Path, preprocess: Preprocess, cache: Path, names: Sequence[str] | None = None
) -> StoredSource:
    """Open an .npz file. Compressed members are unpacked once into `cache`. Raises DataError.

    `names`: of the classes, in label order, in the place of a member `classes`.
    """
    with _told(path):
        digest = sha256_file(path)
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            parts = _parts(path, members)
            inputs = {}
            labels = {}
            for part, (x, y) in parts.items():
                inputs[part] = _rows(archive, path, members[x], cache / digest)
                labels[part] = None if y is None else _labels(archive, path, members[y])
            classes = _classes(archive, path, members) if names is None else tuple(names)
    ranges = _ranges(path, inputs, labels)
    joined = _joined_labels(path, labels, classes)
    first = next(iter(inputs.values()))
    rows = first if len(inputs) == 1 else JoinedRows(list(inputs.values()))
    return StoredSource(
        str(path), combined_digest(digest, preprocess, joined), (rows,), joined, preprocess, ranges, classes
    )


def check_members(path: Path) -> None:
    """Whether a file has samples under the names that `open_npz` reads; no sample is read. Raises DataError."""
    with _told(path), zipfile.ZipFile(path) as archive:
        _parts(path, _members(archive))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What an archive raises, in one line."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        yield
    except BAD_ARCHIVE as problem:
        told = f"{path} is not a readable .npz file: {problem}"
        raise DataError(told, remedy="write it with numpy.savez") from problem
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror or problem}") from problem


def _ranges(
    path: Path, inputs: Mapping[str, Rows], labels: Mapping[str, NDArray[np.generic] | None]
) -> dict[str, range]:
    """Where each part lies, once all fit together; empty for an undivided file."""
    first = next(iter(inputs.values()))
    ranges: dict[str, range] = {}
    start = 0
    for part, rows in inputs.items():
        check_rows(f"{path} ({part})" if part else str(path), [rows], labels[part])
        if rows.shape[1:] != first.shape[1:] or rows.dtype != first.dtype:
            raise DataError(
                f"{path}: the parts differ, {first.dtype} {list(first.shape[1:])} and "
                f"{rows.dtype} {list(rows.shape[1:])}"
            )
        ranges[part] = range(start, start + rows.shape[0])
        start += rows.shape[0]
    return {} if "" in ranges else ranges


def _joined_labels(
    path: Path, labels: Mapping[str, NDArray[np.generic] | None], classes: tuple[str, ...] | None
) -> NDArray[np.generic] | None:
    """All parts' labels, read as one array: whether they are one-hot is a matter of them all."""
    known = {part: label for part, label in labels.items() if label is not None}
    if not known:
        return None
    if len(known) != len(labels):
        lacking = next(part for part, label in labels.items() if label is None)
        raise DataError(
            f"{path}: y_{lacking} is absent, other parts have labels", allowed="labels for all or none"
        )
    if len({(label.dtype.kind in "US", label.shape[1:]) for label in known.values()}) > 1:
        told = ", ".join(f"y_{part} {label.dtype} {list(label.shape)}" for part, label in known.items())
        raise DataError(f"{path}: the labels differ: {told}", allowed="labels of one kind")
    return as_labels(str(path), np.concatenate(list(known.values())), classes)


def _parts(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, tuple[str, str | None]]:
    """Part name (empty for an undivided file) → keys of its samples and labels."""
    members_of: dict[str, tuple[str, str | None]] = {}
    for part in PARTS:
        if f"x_{part}" in members:
            label = f"y_{part}"
            members_of[part] = (f"x_{part}", label if label in members else None)
        elif f"y_{part}" in members:
            raise DataError(f"{path}: y_{part} has no x_{part}", allowed=ALLOWED)
    if "x" in members and members_of:
        raise DataError(f"{path}: x together with x_{next(iter(members_of))}", allowed=ALLOWED)
    if "x" in members:
        return {"": ("x", "y" if "y" in members else None)}
    if not members_of:
        told = ", ".join(sorted(members)[:8]) or "nothing"
        raise DataError(f"{path} has {told}", allowed=ALLOWED, remedy=_renaming(path, members))
    return members_of


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _renaming(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The line of Python that gives a file's arrays their names, where it is clear which are the samples."""
    x, *rest = sorted(members, key=lambda name: -members[name].file_size) or [""]
    if not x or len(rest) > 1 or (rest and members[x].file_size == members[rest[0]].file_size):
        return ""
    labels = "".join(f", y=d[{name!r}]" for name in rest)
    return f"rename them: d = numpy.load({path.name!r}); numpy.savez('named.npz', x=d[{x!r}]{labels})"


def _header(
    file: IO[bytes], info: zipfile.ZipInfo, path: Path
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, Fortran order and dtype of the .npy that begins here; leaves the file where its data begins."""
    key = info.filename
    begin = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = reader(file)
    except BAD_HEADER as problem:
        raise DataError(f"{path}: {key} is not a readable array: {_first_line(problem)}") from problem
    if dtype.hasobject:
        raise DataError(
            f"{path}: {key} is not a readable array: it holds Python objects",
            allowed="numbers, and text for classes",
            remedy="save numpy.array(values, dtype=...)",
        )
    if any(length < 0 for length in shape) or dtype.itemsize == 0:
        raise DataError(f"{path}: {key} is {dtype} {list(shape)}", allowed="arrays of numbers")
    size, held = math.prod(shape) * dtype.itemsize, info.file_size - (file.tell() - begin)
    if size != held:
        raise DataError(
            f"{path}: {key} is not a readable array: it declares {size} bytes of values and holds {held}"
        )
    return shape, fortran, dtype


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]


def _array(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    """A member as a whole, no larger than its archive says. Raises DataError, or one of BAD_ARCHIVE."""
    if info.file_size > LARGEST_READ_BYTES:
        raise DataError(
            f"{path}: {info.filename} has {info.file_size} bytes", allowed=f"{LARGEST_READ_BYTES} at most"
        )
    with archive.open(info) as file:
        _header(file, info, path)
    with archive.open(info) as file:
        array: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
        _read_out(file)
    return array


def _rows(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo, cache: Path) -> Rows:
    """Rows of one member: in place when stored, unpacked into `cache` when compressed."""
    if info.compress_type == zipfile.ZIP_STORED:
        source = path
        with archive.open(info) as member:
            _read_out(member)  # rows are read past the archive's own check
        with open(path, "rb") as file:
            file.seek(info.header_offset)
            header = file.read(LOCAL_HEADER)
            # The local header's own lengths count: the central directory's extra field may differ.
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            file.seek(info.header_offset + LOCAL_HEADER + name_length + extra_length)
            shape, fortran, dtype = _header(file, info, path)
            offset = file.tell()
    else:
        source = _unpack(archive, info, cache)
        with open(source, "rb") as file:
            shape, fortran, dtype = _header(file, info, path)
            offset = file.tell()
    if fortran and len(shape) > 1:
        raise DataError(
            f"{path}: {info.filename} is in Fortran order", remedy="save numpy.ascontiguousarray(x)"
        )
    if len(shape) == 0:
        raise DataError(f"{path}: {info.filename} is a single value", allowed="[N, ...]")
    return FileRows(source, offset, dtype, shape)


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, cache: Path) -> Path:
    """The member as a file in the cache (its folder is named by the archive's SHA-256); what differs is replaced."""
    place = cache / info.filename.replace("/", "_")
    if cache.is_symlink():
        raise StoreError(f"{cache} is a link: move it away, or give another --store")
    if _is_unpacked(place, info):
        return place
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
        if info.file_size > free:
            raise StoreError(f"{info.filename} unpacks to {info.file_size} bytes, {cache} has {free} left")
        with archive.open(info) as packed, atomic_path(place) as draft, open(draft, "wb") as file:
            shutil.copyfileobj(packed, file, PIECE_BYTES)
    except OSError as problem:
        raise StoreError(f"{place} cannot be written: {problem.strerror}") from problem
    return place


def _is_unpacked(place: Path, info: zipfile.ZipInfo) -> bool:
    """Whether a file holds what the archive says of the member: its size and CRC-32."""
    if place.is_symlink() or not place.is_file() or place.stat().st_size != info.file_size:
        return False
    crc = 0
    with open(place, "rb") as file:
        for piece in iter(lambda: file.read(PIECE_BYTES), b""):
            crc = zlib.crc32(piece, crc)
    return crc == info.CRC


def _read_out(member: IO[bytes]) -> None:
    """Read to the end, where zipfile compares the CRC-32. Raises zipfile.BadZipFile."""
    while member.read(PIECE_BYTES):
        pass


def _labels(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    labels: NDArray[np.generic] = _array(archive, path, info)
    if labels.ndim == 0:
        raise DataError(
            f"{path}: {info.filename} is a single value", allowed="one label per sample, [N, ...]"
        )
    return labels


def _classes(
    archive: zipfile.ZipFile, path: Path, members: Mapping[str, zipfile.ZipInfo]
) -> tuple[str, ...] | None:
    """An optional member `classes`: names in label order."""
    if "classes" not in members:
        return None
    array = _array(archive, path, members["classes"])
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(
            f"{path}: classes is {array.dtype} {list(array.shape)}", allowed="names in label order"
        )
    names = tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in array)
    check_names(str(path), names)
    return names
