"""Image folders: one folder per class, perhaps under train/, val/ and test/; or images without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.base import Batch
from edgekit.data.preprocess import preprocess_samples, resized
from edgekit.data.stored import combined_digest
from edgekit.errors import DataError, MissingExtraError
from edgekit.files import sha256_file
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ImageFolderSource", "open_images"]

PARTS = ("train", "val", "test")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif", ".webp", ".tif", ".tiff"})
READERS = 2


@dataclass(frozen=True)
class ImageFolderSource:
    """Image files, decoded when taken. All come out in one mode (grey, or RGB) and one size."""

    name: str
    digest: str
    files: tuple[Path, ...]
    mode: str
    labels: NDArray[np.int64] | None
    preprocess: Preprocess
    parts: Mapping[str, range] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    always_finite: bool = True

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: NDArray[np.int64]) -> Batch:
        """Images `indices` as float32 [N, C, H, W]. Raises DataError for a file that cannot be decoded."""
        with ThreadPoolExecutor(READERS) as pool:
            images = list(pool.map(self._decode, indices.tolist()))
        labels = None if self.labels is None else self.labels[indices]
        if not images:
            raise DataError(f"{self.name}: no samples were asked for")
        return Batch((np.concatenate(images),), labels)

    def _decode(self, index: int) -> NDArray[np.generic]:
        from PIL import Image

        path = self.files[index]
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert(self.mode), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            raise DataError(f"{path} cannot be decoded: {problem}") from problem
        return preprocess_samples(pixels.reshape(1, *pixels.shape[:2], -1), self.preprocess)


def open_images(folder: Path, preprocess: Preprocess) -> ImageFolderSource:
    """Open a folder of images. Raises DataError when there are none or sizes differ after resize and crop."""
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
    classes = tuple(sorted(set(owners)))
    if "" in classes and len(classes) > 1:
        stray = files[owners.index("")]
        raise DataError(
            f"{stray} lies beside the class folders", allowed="images in class folders, or none at all"
        )
    labelled = classes != ("",)
    number = {name: index for index, name in enumerate(classes)}
    mode = _common_mode(files, preprocess)
    return ImageFolderSource(
        name=str(folder),
        digest=combined_digest(_digest(folder, files), preprocess),
        files=tuple(files),
        mode=mode,
        labels=np.array([number[owner] for owner in owners], dtype=np.int64) if labelled else None,
        preprocess=preprocess,
        parts={} if not tops else ranges,
        classes=classes if labelled else None,
    )


def _listing(folder: Path) -> list[tuple[str, Path]]:
    """(class name, file) in sorted order; the class is empty for files directly in `folder`."""
    images = [("", path) for path in sorted(folder.iterdir()) if _is_image(path)]
    for top in sorted(folder.iterdir()):
        if top.is_dir() and not top.name.startswith("."):
            images += [(top.name, path) for path in sorted(top.rglob("*")) if _is_image(path)]
    return images


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _common_mode(files: list[Path], preprocess: Preprocess) -> str:
    """RGB unless every image is grey; also checks that all have one size in the end. Reads headers only."""
    try:
        from PIL import Image
    except ModuleNotFoundError as problem:
        raise MissingExtraError("Pillow", "images") from problem
    grey = True
    first: tuple[int, int] | None = None
    for path in files:
        try:
            with Image.open(path) as image:
                grey &= image.mode in ("1", "L", "I;16", "I", "F")
                size = resized(image.height, image.width, preprocess)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            raise DataError(f"{path} is not a readable image: {problem}") from problem
        first = first or size
        if size != first:
            raise DataError(
                f"{path} is {size[1]}x{size[0]}, {files[0].name} is {first[1]}x{first[0]}",
                allowed="images of one size",
                remedy="set resize and crop",
            )
    return "L" if grey else "RGB"


def _digest(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
    return digest.hexdigest()
