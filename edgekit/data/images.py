"""Image folders: one folder per class, perhaps under train/, val/ and test/; or images without labels.

A label is the place of the class folder among all class folders in alphabetical order, empty ones too, or in a list
of names that is given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.board.images import SUFFIXES
from edgekit.data.base import Batch
from edgekit.data.classes import check_names
from edgekit.data.decoding import ImageHeader, check_decodes, decode, read_headers
from edgekit.data.preprocess import preprocess_samples, resized
from edgekit.data.stored import combined_digest
from edgekit.errors import DataError
from edgekit.files import sha256_file
from edgekit.limits import MEMORY, worker_limits
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ImageFolderSource", "open_images"]

PARTS = ("train", "val", "test")
READERS = 2
MOST_PIXELS, MOST_PER_BYTE = 4_000_000_000, 100
"""Of all images together, where each byte of a file makes so many. Photographs have 4 to 30; decoding takes time."""


@dataclass(frozen=True)
class ImageFolderSource:
    """Image files, decoded when taken. All come out in one mode (grey, or RGB) and one `size`, height and width."""

    name: str
    digest: str
    files: tuple[Path, ...]
    mode: str
    labels: NDArray[np.generic] | None
    preprocess: Preprocess
    parts: Mapping[str, range] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    always_finite: bool = True
    warnings: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: NDArray[np.int64]) -> Batch:
        """Images `indices` as float32 [N, C, H, W]. Raises DataError for a file that cannot be decoded.

        And for more than fits into the memory that a build may use.
        """
        self._refuse_too_much(len(indices))
        with ThreadPoolExecutor(READERS) as pool:
            images = list(pool.map(self._decode, indices.tolist()))
        labels = None if self.labels is None else self.labels[indices]
        if not images:
            raise DataError(f"{self.name}: no samples were asked for")
        return Batch((np.concatenate(images),), labels)

    def _refuse_too_much(self, count: int) -> None:
        height, width = self.size
        need = count * height * width * (1 if self.mode == "L" else 3) * np.dtype(np.float32).itemsize
        most = worker_limits().memory_bytes
        if need > most:
            raise DataError(
                f"{self.name}: {count} images of {width}x{height} take {need / 1e9:.3g} GB at once",
                allowed=f"{most / 1e9:.3g} GB",
                remedy=f"set --resize, or raise {MEMORY}",
            )

    def _decode(self, index: int) -> NDArray[np.generic]:
        pixels = decode(self.files[index], self.mode)
        return preprocess_samples(pixels.reshape(1, *pixels.shape[:2], -1), self.preprocess)


def open_images(
    folder: Path, preprocess: Preprocess, names: Sequence[str] | None = None
) -> ImageFolderSource:
    """Open a folder of images; `names`: the class folders' names in label order.

    Every file is decoded once. Raises DataError when there are none, when one cannot be decoded, when sizes differ
    after resize and crop, and for a class folder that is not among `names`.
    """
    if preprocess.input_layout == "nchw":
        raise DataError(
            "input_layout is nchw, but decoded images are nhwc", allowed="nhwc or as-is for images"
        )
    preprocess = replace(preprocess, input_layout="nhwc")
    tops = [part for part in PARTS if (folder / part).is_dir()]
    files: list[Path] = []
    owners: list[str] = []
    ranges: dict[str, range] = {}
    for part in tops or [""]:
        start = len(files)
        for owner, file in _listing(folder / part):
            owners.append(owner)
            files.append(file)
        ranges[part] = range(start, len(files))
    if not files:
        raise DataError(
            f"{folder} holds no images", allowed="one folder per class, or those under train, val, test"
        )
    for part, indices in ranges.items():
        if len(indices) == 0:
            raise DataError(f"{folder / part} holds no images")
    if "" in owners and len(set(owners)) > 1:
        stray = files[owners.index("")]
        raise DataError(
            f"{stray} lies beside the class folders", allowed="images in class folders, or none at all"
        )
    labelled = "" not in owners
    class_folders = [path for part in tops or [""] for path in _class_folders(folder / part)]
    classes = _numbered(class_folders, names) if labelled else ()
    number = {name: index for index, name in enumerate(classes)}
    headers, size = _checked_headers(files, preprocess)
    return ImageFolderSource(
        name=str(folder),
        digest=combined_digest(_digest(folder, files, classes), preprocess),
        files=tuple(files),
        mode="L" if all(header.grey for header in headers) else "RGB",
        labels=np.array([number[owner] for owner in owners], dtype=np.int64) if labelled else None,
        preprocess=preprocess,
        parts={} if not tops else ranges,
        classes=classes if labelled else None,
        warnings=_warnings(folder, headers),
        size=size,
    )


def _listing(folder: Path) -> list[tuple[str, Path]]:
    """(class name, file) in sorted order; the class is empty for files directly in `folder`."""
    images = [("", path) for path in sorted(folder.iterdir()) if _is_image(path)]
    for top in _class_folders(folder):
        images += [(top.name, path) for path in sorted(top.rglob("*")) if _is_image(path)]
    return images


def _class_folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _numbered(folders: Sequence[Path], names: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in label order: as `names` has them, else in alphabetical order."""
    if names is None:
        names_found = tuple(sorted({folder.name for folder in folders}))
        check_names(str(folders[0].parent), names_found)
        return names_found
    for folder in folders:
        if folder.name not in names:
            raise DataError(
                f"the class folder {folder} is not among the {len(names)} classes that are named",
                remedy="name it as the list does",
            )
    return tuple(names)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _checked_headers(
    files: Sequence[Path], preprocess: Preprocess
) -> tuple[list[ImageHeader], tuple[int, int]]:
    """Every file's header and the size of all, once they come out in one and every file can be decoded to its end."""
    headers: list[ImageHeader] = []
    first: tuple[int, int] | None = None
    pixels = count_bytes = 0
    for path, header in zip(files, read_headers(files), strict=True):
        pixels += header.height * header.width
        count_bytes += path.stat().st_size
        if pixels > max(MOST_PIXELS, MOST_PER_BYTE * count_bytes):
            raise DataError(
                f"the first {len(headers) + 1} images make {pixels:,} pixels of {count_bytes:,} bytes",
                allowed=f"{MOST_PIXELS:,} pixels in all, or {MOST_PER_BYTE} to a byte",
                remedy="give images in the size that the network takes, or an .npz file",
            )
        size = resized(header.height, header.width, preprocess)
        first = first or size
        if size != first:
            raise DataError(
                f"{path} is {size[1]}x{size[0]}, {files[0].name} is {first[1]}x{first[0]}",
                allowed="images of one size",
                remedy=f"set resize and crop: {_one_size(preprocess)}",
            )
        headers.append(header)
    with ThreadPoolExecutor(READERS) as pool:
        for _ in pool.map(check_decodes, files):
            pass
    assert first is not None  # of one file at least
    return headers, first


def _one_size(preprocess: Preprocess) -> str:
    """Options that bring images of any size to one."""
    side = preprocess.resize
    if isinstance(side, int):
        return (
            f"{side} is the shorter side alone; both: --resize {side}x{side} (--letterbox), or --crop {side}"
        )
    return "to what the network takes, as --resize 640x640 --letterbox, or --resize 256 --crop 224"


def _warnings(folder: Path, headers: Sequence[ImageHeader]) -> tuple[str, ...]:
    made = []
    turned, deep = sum(header.turned for header in headers), sum(header.deep for header in headers)
    if turned:
        made.append(f"{folder}: {turned} of {len(headers)} images are turned upright, as their EXIF says")
    if deep:
        made.append(
            f"{folder}: {deep} of {len(headers)} images have 16 bits and are read as 8: 65535 becomes 255"
        )
    return tuple(made)


def _digest(folder: Path, files: Sequence[Path], classes: Sequence[str]) -> str:
    digest = hashlib.sha256(f"upright, 8 bits, labelled by {list(classes)}\n".encode())
    for path in files:
        name = os.fsencode(path.relative_to(folder).as_posix())  # which need not be UTF-8
        digest.update(name + f" {sha256_file(path)}\n".encode())
    return digest.hexdigest()
