"""Bytes of a request as stored samples. Nothing is made larger than what came, and nothing is executed."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgekit.errors import in_one_line
from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_archive", "read_array", "read_json", "read_picture"]

NUMBERS = "biuf"
"""numpy's kinds of plain numbers: bool, int, unsigned, float."""
LONGEST_HEADER = 10_000
"""Characters of a .npy header, which Python's parser reads (numpy's own limit)."""
MOST_AXES = 16
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP", "TIFF")
"""Pillow's names. Others start programs (EPS: Ghostscript) or are not what cameras write."""
DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip


class _JsonRequest(msgspec.Struct, forbid_unknown_fields=True):
    """{"inputs": nested lists, or {name: nested lists}}; `dtype`: in which the samples are stored, as "uint8"."""

    inputs: Any
    dtype: str | None = None


def read_array(body: bytes | bytearray | memoryview, name: str) -> NDArray[np.generic]:
    """The array of a .npy file: a view of `body`, so that a header cannot claim more than what came.

    Raises RequestProblem for a header that is none, objects (pickles), and a file that is cut or too long.
    """
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        header = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
        shape, fortran, dtype = getattr(np.lib.format, header)(stream, max_header_size=LONGEST_HEADER)
    # The header is a Python literal: a damaged one fails in the ways of Python's parser.
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, EOFError) as problem:
        raise RequestProblem(
            400, f"{name} is no .npy file: {in_one_line(problem)}", allowed="what numpy.save writes"
        ) from problem
    if dtype.kind not in NUMBERS:
        held = "Python objects (a pickle)" if dtype.hasobject else str(dtype)
        raise RequestProblem(422, f"{name} holds {held}", allowed="an array of numbers")
    if len(shape) > MOST_AXES or any(size < 0 for size in shape):
        raise RequestProblem(422, f"{name} has the shape {list(shape)}", allowed=f"{MOST_AXES} axes at most")
    count, offset = 1, stream.tell()
    for size in shape:
        count *= int(size)
    came = len(body) - offset
    if count * dtype.itemsize != came:
        raise RequestProblem(
            400, f"{name} declares {list(shape)} of {dtype}, {count * dtype.itemsize} bytes, and holds {came}"
        )
    flat: NDArray[np.generic] = np.frombuffer(body, dtype, count, offset)
    array: NDArray[np.generic] = flat.reshape(shape, order="F" if fortran else "C")
    return array


def read_archive(body: bytes | bytearray, name: str, most_bytes: int) -> dict[str, NDArray[np.generic]]:
    """The arrays of a .npz file by name, `most_bytes` altogether when unpacked. Raises RequestProblem."""
    arrays: dict[str, NDArray[np.generic]] = {}
    left = most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for info in archive.infolist():
                if info.file_size > left:
                    raise RequestProblem(413, f"{name} unpacks to more than {most_bytes} bytes")
                with archive.open(info) as member:
                    content = member.read(left + 1)  # the size that an archive declares may be a lie
                if len(content) > left:
                    raise RequestProblem(413, f"{name} unpacks to more than {most_bytes} bytes")
                left -= len(content)
                arrays[info.filename.removesuffix(".npy")] = read_array(content, info.filename)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as problem:
        raise RequestProblem(400, f"{name} is no .npz file: {in_one_line(problem)}") from problem
    return arrays


def read_json(body: bytes | bytearray, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """{"inputs": …} as an array per input. Raises RequestProblem for other JSON and for lists that are no array."""
    try:
        request = msgspec.json.decode(body, type=_JsonRequest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        raise RequestProblem(
            400,
            f"the body is not the JSON that is taken here: {in_one_line(problem)}",
            allowed='{"inputs": [numbers]} or {"inputs": {NAME: [numbers]}}',
        ) from problem
    if request.dtype is not None and request.dtype not in DTYPES:
        raise RequestProblem(422, f'dtype is "{request.dtype}"', allowed=", ".join(DTYPES))
    inputs = request.inputs
    if not isinstance(inputs, Mapping):
        if len(names) != 1:
            raise RequestProblem(422, "inputs came without names", allowed=f"an object of {', '.join(names)}")
        inputs = {names[0]: inputs}
    return {str(name): _numbers(values, str(name), request.dtype) for name, values in inputs.items()}


def _numbers(values: Any, name: str, dtype: str | None) -> NDArray[np.generic]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError, RecursionError) as problem:
        raise RequestProblem(
            422,
            f"input {name} is no array: its lists differ in length or depth",
            allowed="nested lists of numbers",
        ) from problem
    if array.dtype.kind not in NUMBERS:
        raise RequestProblem(
            422,
            f"input {name} holds what is no number, or a number beyond 64 bits",
            allowed="nested lists of numbers",
        )
    if dtype is None:
        return array
    with np.errstate(all="ignore"):
        stored = array.astype(dtype)
        kept = stored.astype(array.dtype) == array
    if np.dtype(dtype).kind != "f" and not kept.all():
        raise RequestProblem(422, f"input {name} holds numbers that are no {dtype}")
    return stored


def read_picture(body: bytes | bytearray, name: str, spec: Mapping[str, Any], how: Mapping[str, Any]) -> Any:
    """The pixels of an image as the build stored them, uint8. Raises RequestProblem.

    spec: the input's {name, dtype, shape}; how: its preprocessing.
    """
    from edgekit.board.images import LARGEST_PIXELS
    from edgekit.board.preprocess import SampleError
    from edgekit.board.reading import PILLOW, image_samples

    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as problem:
        raise RequestProblem(415, f"an image came, and {PILLOW}", allowed="an array") from problem
    too_many = f"{name} has too many pixels"
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as picture:
            size = f"{picture.width}x{picture.height}"
            if picture.width * picture.height > LARGEST_PIXELS:
                raise RequestProblem(413, f"{too_many}: {size}", allowed=f"{LARGEST_PIXELS} at most")
        return image_samples(io.BytesIO(body), name, spec, how)
    except RequestProblem:
        raise
    except SampleError as problem:
        raise RequestProblem(422, problem.came, allowed=problem.allowed, remedy=problem.remedy) from problem
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise RequestProblem(413, too_many, allowed=f"{LARGEST_PIXELS} at most") from problem
    except UnidentifiedImageError as problem:
        raise RequestProblem(
            415, f"{name} is no image that is read here", allowed=", ".join(FORMATS)
        ) from problem
    except Exception as problem:  # Pillow's readers raise whatever a damaged file makes of them
        raise RequestProblem(422, f"{name} cannot be decoded: {in_one_line(problem)}") from problem
