"""Preprocessing: declared once, checked strictly, applied to every sample the same way."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.board import images
from edgekit.board import preprocess as board
from edgekit.errors import DataError, MissingExtraError
from edgekit.files import read_toml
from edgekit.types import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_preprocess", "load_preprocess", "make_preprocess", "preprocess_samples", "resized"]

LAYOUTS = ("nhwc", "nchw", "as-is")


def load_preprocess(path: str | Path) -> Preprocess:
    """Read a TOML file with the keys of `Preprocess`. Raises DataError for any other key or a wrong value."""
    return make_preprocess(read_toml(Path(path), DataError), f"{path}: ")


def make_preprocess(given: Mapping[str, Any], place: str = "") -> Preprocess:
    """Preprocessing from its fields by name; `place` begins the message of what raises DataError."""
    import msgspec

    allowed = [field.name for field in fields(Preprocess)]
    values = dict(given)
    for key, value in given.items():
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{place}unknown key {key!r}", allowed=", ".join(allowed), remedy=hint)
        if key in ("mean", "std"):
            values[key] = tuple(value) if isinstance(value, Iterable) else (value,)
    try:
        preprocess = replace(msgspec.convert(values, Preprocess))  # with its defaults: msgspec sets none
    except msgspec.ValidationError as problem:
        layouts = f"; input_layout is one of {', '.join(LAYOUTS)}" if "input_layout" in str(problem) else ""
        raise DataError(f"{place}{problem}{layouts}") from problem
    check_preprocess(preprocess)
    return preprocess


def check_preprocess(preprocess: Preprocess) -> None:
    """Raises DataError for values that no sample can go through."""
    if not np.isfinite(preprocess.scale) or preprocess.scale == 0:
        raise DataError(f"scale is {preprocess.scale}", allowed="a number other than 0, such as 255")
    if not all(np.isfinite(value) for value in preprocess.mean):
        raise DataError(f"mean is {_list(preprocess.mean)}", allowed="finite numbers")
    if not all(np.isfinite(value) and value > 0 for value in preprocess.std):
        raise DataError(f"std is {_list(preprocess.std)}", allowed="numbers above 0")
    counts = {len(values) for values in (preprocess.mean, preprocess.std) if len(values) > 1}
    if len(counts) > 1:
        raise DataError(
            f"mean has {len(preprocess.mean)} values, std has {len(preprocess.std)}",
            allowed="one value per channel in both, or one for all",
        )
    for name, pixels in (("resize", preprocess.resize), ("crop", preprocess.crop)):
        if pixels is not None and min(_sides(pixels)) < 1:
            raise DataError(
                f"{name} is {pixels}", allowed="a whole number of pixels above 0, or width and height"
            )
    _check_fit(preprocess)


def _sides(pixels: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height."""
    return (pixels, pixels) if isinstance(pixels, int) else pixels


def _check_fit(preprocess: Preprocess) -> None:
    resize, crop = preprocess.resize, preprocess.crop
    if preprocess.letterbox is not None:
        if not 0 <= preprocess.letterbox <= 255:
            raise DataError(
                f"letterbox is {preprocess.letterbox}", allowed="a stored value from 0 to 255, as 114"
            )
        if not isinstance(resize, tuple):
            raise DataError("letterbox needs the width and height to fill", remedy="set resize, as 640x480")
    if crop is None or resize is None or (isinstance(resize, int) and isinstance(crop, tuple)):
        return  # where the shorter side alone is known, the other one may be wide enough
    if any(cut > side for cut, side in zip(_sides(crop), _sides(resize), strict=True)):
        raise DataError(f"crop is {crop}, more than resize ({resize})", allowed="crop <= resize")


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def resized(height: int, width: int, preprocess: Preprocess) -> tuple[int, int]:
    """Height and width after resize and crop. Raises DataError when the crop does not fit."""
    try:
        return board.resized(height, width, preprocess.resize, preprocess.crop)
    except board.SampleError as problem:
        raise _told(problem) from None


def preprocess_samples(samples: NDArray[np.generic], preprocess: Preprocess) -> NDArray[np.generic]:
    """Stored samples [N, ...] as network inputs, as `board/preprocess.py` has it; images are resized by Pillow.

    Raises DataError when the shape does not fit what was declared.
    """
    try:
        result: NDArray[np.generic] = board.prepared(samples, asdict(preprocess), _resize_planes)
    except board.SampleError as problem:
        raise _told(problem) from None
    return result


def _told(problem: board.SampleError) -> DataError:
    return DataError(problem.came, allowed=problem.allowed, remedy=problem.remedy)


def _resize_planes(planes: NDArray[np.generic], height: int, width: int) -> NDArray[np.generic]:
    try:
        result: NDArray[np.generic] = images.resize_planes(planes, height, width)
    except ModuleNotFoundError as problem:
        raise MissingExtraError("Pillow", "images") from problem
    return result
