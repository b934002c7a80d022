"""How stored samples become network inputs: the same for calibration, validation and service.

Order: layout, channels, resize (with letterbox), crop, divide by scale, subtract mean, divide by std.
"""

from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

Resize = Callable[[Any, int, int], Any]
"""Planes [N, C, H, W], height and width -> planes of that size."""

Pixels = Union[int, Sequence[int], None]
"""One number, or width and height."""


class SampleError(ValueError):
    """A sample that does not fit what was declared. One line: what came, what is allowed, how to mend it."""

    def __init__(self, came: str, allowed: str = "", remedy: str = "") -> None:
        self.came, self.allowed, self.remedy = came, allowed, remedy
        parts = (came, "allowed: " + allowed if allowed else "", remedy)
        ValueError.__init__(self, "; ".join(part for part in parts if part))


def resized(height: int, width: int, resize: Pixels, crop: Pixels) -> Tuple[int, int]:
    """Height and width after both. Raises SampleError when the crop does not fit."""
    if isinstance(resize, int):
        factor = resize / min(height, width)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
    elif resize:
        width, height = resize
    if crop:
        across, down = (crop, crop) if isinstance(crop, int) else crop
        if height < down or width < across:
            told = "%d" % crop if isinstance(crop, int) else "%dx%d" % (across, down)
            raise SampleError(
                "crop is %s, but an image is %dx%d" % (told, width, height),
                remedy="resize first, or crop less",
            )
        height, width = down, across
    return height, width


def _recoloured(samples: Any, channels: Optional[str]) -> Any:
    """RGB or grey [N, C, H, W] as the network takes it. Grey of RGB is ITU-R BT.601's luma, as Pillow rounds it."""
    if channels is None:
        return samples
    have = samples.shape[1] if samples.ndim == 4 else 0
    if have not in (1, 3):
        raise SampleError(
            "channels is %s, but the samples are %s" % (channels, list(samples.shape[1:])),
            allowed="images of 1 or 3 channels, with input_layout nhwc or nchw",
        )
    if channels == "grey":
        return samples if have == 1 else _luma(samples)
    if have == 1:
        return np.repeat(samples, 3, axis=1)
    return samples if channels == "rgb" else samples[:, ::-1]


def _luma(samples: Any) -> Any:
    weights = (19595, 38470, 7471)  # of 65536, as Pillow has them
    if samples.dtype == np.uint8:
        parts = [samples[:, index].astype(np.uint32) * weight for index, weight in enumerate(weights)]
        return ((parts[0] + parts[1] + parts[2] + 32768) >> 16).astype(np.uint8)[:, None]
    parts = [
        samples[:, index].astype(np.float32) * np.float32(weight / 65536.0)
        for index, weight in enumerate(weights)
    ]
    return (parts[0] + parts[1] + parts[2])[:, None]


def _fitted(samples: Any, size: Pixels, letterbox: Optional[int], resize: Optional[Resize]) -> Any:
    """Resized; with a letterbox centred on planes of its value, half a pixel up and left where it cannot be."""
    height, width = samples.shape[2:]
    down, across = resized(height, width, size, None)
    inner = (down, across)
    if letterbox is not None:
        factor = min(down / height, across / width)
        inner = (min(down, max(1, round(height * factor))), min(across, max(1, round(width * factor))))
    if inner != (height, width):
        if resize is None:
            told = (
                "its shorter side must have %d pixels" % size
                if isinstance(size, int)
                else "to %dx%d" % inner[::-1]
            )
            raise SampleError("resize the image first: " + told)
        samples = resize(samples, *inner)
    if inner == (down, across):
        return samples
    planes = np.full(samples.shape[:2] + (down, across), letterbox, samples.dtype)
    top, left = (down - inner[0]) // 2, (across - inner[1]) // 2
    planes[:, :, top : top + inner[0], left : left + inner[1]] = samples
    return planes


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
    channels, letterbox = how.get("channels"), how.get("letterbox")
    if layout == "as-is" and (how["resize"] or how["crop"] or channels):
        raise SampleError(
            "resize, crop and channels need to know the layout", remedy="set input_layout to nhwc or nchw"
        )
    if layout == "nhwc":
        samples = samples.transpose(0, 3, 1, 2)
    samples = _recoloured(samples, channels)
    if how["resize"]:
        samples = _fitted(samples, how["resize"], letterbox, resize)
    if how["crop"]:
        height, width = samples.shape[2:]
        down, across = resized(height, width, None, how["crop"])
        top, left = (height - down) // 2, (width - across) // 2
        samples = samples[:, :, top : top + down, left : left + across]
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
