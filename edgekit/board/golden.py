"""Golden inputs and outputs: whether an artifact answers here as it did where its bundle was made."""

import struct
import zipfile
import zlib
from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

ZERO = 1e-6  # the magnitude that an output of zeros counts as having
LARGEST_RATIO = 1100  # deflate makes at most 1032 bytes of one (zlib's documentation)


def read(path: str, inputs: int, outputs: int) -> Tuple[List[Any], List[Any]]:
    """Arrays in0, in1, ... and out0, ..., [samples, ...] each.

    Never makes an array larger than what its file can hold. Raises OSError, ValueError, KeyError or
    zipfile.BadZipFile for a file that does not hold them.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            return (
                [_array(archive, "in%d" % index) for index in range(inputs)],
                [_array(archive, "out%d" % index) for index in range(outputs)],
            )
        except (
            RuntimeError,
            EOFError,
            OverflowError,
            struct.error,
            zlib.error,
        ) as error:  # encrypted, cut, damaged
            raise ValueError(str(error) or "it is cut") from error


def _array(archive: zipfile.ZipFile, name: str) -> Any:
    info = archive.getinfo(name + ".npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("%s is compressed in a way that is not written here" % name)
    with archive.open(info) as member:
        try:
            version = np.lib.format.read_magic(member)
            header = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
            shape, _, dtype = getattr(np.lib.format, header)(member)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise ValueError("%s is not an array" % name) from error
    if not shape or dtype.kind not in "biufc" or min(shape) < 0:
        raise ValueError("%s is not an array of samples" % name)
    size, held = dtype.itemsize, min(info.file_size, LARGEST_RATIO * info.compress_size)
    for length in shape:
        size *= int(length)
    if size > held:
        raise ValueError("%s declares %d bytes, its file holds at most %d" % (name, size, held))
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def magnitude(golden: Any) -> float:
    """What deviations from all golden samples of one output are relative to."""
    return max(float(np.abs(golden.astype(np.float64)).max()) if golden.size else 0.0, ZERO)


def deviation(answer: Any, golden: Any, relative_to: float) -> float:
    """The largest absolute difference, relative; infinite for another shape and for what is not finite."""
    if answer.shape != golden.shape or not np.isfinite(answer).all():
        return float("inf")
    if not golden.size:
        return 0.0
    largest = float(np.abs(answer.astype(np.float64) - golden.astype(np.float64)).max()) / relative_to
    return largest if np.isfinite(largest) else float("inf")


def largest_deviation(
    run: Callable[[List[Any]], Sequence[Any]], inputs: Sequence[Any], outputs: Sequence[Any]
) -> float:
    """Over all golden samples, through `run` by itself each: arrays [1, ...] in, arrays out, in the signature's order.

    An artifact matches where this is at most the bundle's tolerance. Raises ValueError for another number of outputs.
    """
    magnitudes = [magnitude(golden) for golden in outputs]
    worst = 0.0
    for index in range(len(inputs[0])):
        answers = run([array[index : index + 1] for array in inputs])
        if len(answers) != len(outputs):
            raise ValueError("%d outputs came, %d are golden" % (len(answers), len(outputs)))
        for answer, golden, relative_to in zip(answers, outputs, magnitudes):
            worst = max(worst, deviation(answer, golden[index : index + 1], relative_to))
    return worst
