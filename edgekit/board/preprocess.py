"""How stored samples become network inputs: the same for calibration, validation and service.

Order: layout, resize, crop, divide by scale, subtract mean, divide by std.
"""

from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

import numpy as np

Resize = Callable[[Any, int, int], Any]
"""Planes [N, C, H, W], height and width -> planes of that size."""


class SampleError(ValueError):
    """A sample that does not fit what was declared. One line: what came, what is allowed, how to mend it."""

    def __init__(self, came: str, allowed: str = "", remedy: str = "") -> None:
        self.came, self.allowed, self.remedy = came, allowed, remedy
        parts = (came, "allowed: " + allowed if allowed else "", remedy)
        ValueError.__init__(self, "; ".join(part for part in parts if part))


def resized(height: int, width: int, resize: Optional[int], crop: Optional[int]) -> Tuple[int, int]:
    """Height and width after both. Raises SampleError when the crop does not fit."""
    if resize:
        factor = resize / min(height, width)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
    if crop:
        if min(height, width) < crop:
            raise SampleError(
                "crop is %d, but an image is %dx%d" % (crop, width, height),
                remedy="resize first, or crop less",
            )
        height = width = crop
    return height, width


def prepared(samples: Any, how: Mapping[str, Any], resize: Optional[Resize] = None) -> Any:
    """Stored samples [N, ...] as network inputs [N, ...], by the keys of preprocess.json.

    float32, but int32 and int64 stay what they are (token ids) where nothing but a layout is declared. Without
    `resize` images have to come in the size that is declared. Raises SampleError when the shape does not fit.
    """
    layout = how["input_layout"]
    if layout != "as-is" and samples.ndim != 4:
        raise SampleError(
            "input_layout is %s, but the samples are %s" % (layout, list(samples.shape[1:])),
            allowed="samples of 3 dimensions (%s), or input_layout as-is" % layout[1:].upper(),
        )
    if layout == "as-is" and (how["resize"] or how["crop"]):
        raise SampleError(
            "resize and crop need to know the layout", remedy="set input_layout to nhwc or nchw"
        )
    if layout == "nhwc":
        samples = samples.transpose(0, 3, 1, 2)
    if how["resize"] and min(samples.shape[2:]) != how["resize"]:
        if resize is None:
            raise SampleError("resize the image first: its shorter side must have %d pixels" % how["resize"])
        samples = resize(samples, *resized(samples.shape[2], samples.shape[3], how["resize"], None))
    if how["crop"]:
        height, width = samples.shape[2:]
        resized(height, width, None, how["crop"])
        top, left = (height - how["crop"]) // 2, (width - how["crop"]) // 2
        samples = samples[:, :, top : top + how["crop"], left : left + how["crop"]]
    plain = how["scale"] == 1 and not how["mean"] and not how["std"]
    if plain and samples.dtype in (np.int32, np.int64):
        return np.ascontiguousarray(samples)
    result = np.ascontiguousarray(samples, dtype=np.float32)
    if how["scale"] != 1:
        result = result / np.float32(how["scale"])
    if how["mean"]:
        result = result - _per_channel(how["mean"], result, "mean")
    if how["std"]:
        result = result / _per_channel(how["std"], result, "std")
    return result


def _per_channel(values: Sequence[float], samples: Any, name: str) -> Any:
    array = np.asarray(values, dtype=np.float32)
    if array.size == 1:
        return array.reshape(())
    channels = samples.shape[1] if samples.ndim > 1 else 0
    if channels != array.size:
        raise SampleError(
            "%s has %d values, the samples have %d channels" % (name, array.size, channels),
            allowed="one value per channel, or one for all",
            remedy="is input_layout right?",
        )
    return array.reshape((1, -1) + (1,) * (samples.ndim - 2))
