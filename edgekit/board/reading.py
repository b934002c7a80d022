"""Files of stored samples, as a build was fed: arrays as .npy, and images where images are what the network takes."""

import os
from typing import Any, Mapping

from .images import PROBLEMS, SUFFIXES, decode, resize_planes
from .preprocess import SampleError

MODES = {1: "L", 3: "RGB"}  # Pillow's, by the channels that the network takes
PILLOW = "Pillow is not installed: pip install pillow"


def read_sample(path: str, spec: Mapping[str, Any], how: Mapping[str, Any]) -> Any:
    """The samples of one input in a file: what a .npy holds, or an image as it is stored, by the declared layout.

    `spec` is the input's {name, dtype, shape}, `how` its preprocessing. Raises SampleError with one line.
    """
    import numpy as np

    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return image_samples(path, path, spec, how)
    if suffix != ".npy":
        raise SampleError("%s is no file of samples" % path, allowed=".npy, or an image (.jpg, .png, ...)")
    try:
        return np.load(path, allow_pickle=False)
    except OSError as problem:
        raise SampleError("%s cannot be read: %s" % (path, problem.strerror or problem)) from problem
    except (ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as problem:
        raise SampleError("%s is no array of numbers in a .npy file" % path) from problem


def image_samples(source: Any, name: str, spec: Mapping[str, Any], how: Mapping[str, Any]) -> Any:
    """The pixels of an image as the build stored them, by the declared layout; `name` stands for it in messages.

    `source` is a path or a binary file that is open. Raises SampleError with one line.
    """
    shape, layout = spec["shape"], how["input_layout"]
    channels = shape[1] if len(shape) == 4 else None
    if layout == "as-is" or channels not in MODES:
        takes = "input %s takes %s of layout %s" % (spec["name"], shape[1:], layout)
        raise SampleError(
            "%s is an image, but %s" % (name, takes), allowed="a .npy file with samples as the build got them"
        )
    try:
        pixels = decode(source, MODES[channels])
    except ImportError as problem:
        raise SampleError("%s is an image: %s" % (name, PILLOW)) from problem
    except PROBLEMS as problem:
        raise SampleError("%s cannot be decoded: %s" % (name, str(problem)[:200])) from problem
    stored = pixels.reshape(pixels.shape[0], pixels.shape[1], channels)
    return stored if layout == "nhwc" else stored.transpose(2, 0, 1)


def resize(planes: Any, height: int, width: int) -> Any:
    """As `images.resize_planes`. Raises SampleError without Pillow."""
    try:
        return resize_planes(planes, height, width)
    except ImportError as problem:
        size = "%dx%d" % (planes.shape[3], planes.shape[2])
        raise SampleError(
            "a sample of %s has to be resized: %s" % (size, PILLOW), remedy="or resize it before"
        ) from problem
