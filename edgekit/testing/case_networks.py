"""The table of tiny networks, one per kind of block that people build with, each with an input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["CASE_NETWORKS"]

Arrays = tuple[NDArray[np.generic], ...]


@dataclass(frozen=True)
class CaseNetwork:
    """`make` gives the module in eval mode, the same weights each time; `inputs` one sample, batch 1 included."""

    make: Callable[[], torch.nn.Module]
    inputs: Callable[[], Arrays]


def _made(name: str) -> torch.nn.Module:
    import torch

    from edgekit.testing.case_modules import FACTORIES

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return FACTORIES[name]().eval()


def _normal(*shape: int) -> Arrays:
    return (np.random.default_rng(7).standard_normal(shape).astype(np.float32),)


def _tokens(dtype: str = "int64") -> Arrays:
    return (np.random.default_rng(7).integers(0, 50, (1, 12)).astype(dtype),)


def _masked(dtype: str) -> Arrays:
    mask = (np.arange(12) < 9)[None].astype(dtype)
    return (*_tokens(), mask)


def _pixels() -> Arrays:
    return (np.random.default_rng(7).integers(0, 256, (1, 3, 16, 16)).astype(np.uint8),)


_image = partial(_normal, 1, 3, 16, 16)
_signal = partial(_normal, 1, 3, 32)
_sequence = partial(_normal, 1, 10, 16)
_steps = partial(_normal, 1, 6, 3)
_small = partial(_normal, 1, 3, 4, 4)

_INPUTS: Mapping[str, Callable[[], Arrays]] = {
    **dict.fromkeys(
        (
            *("c2f-chunk", "sppf", "fixed-view", "unet-convtranspose", "segmentation", "keypoints"),
            *("dict-detector", "concat-box-score", "sigmoid-head", "detector-head", "yolo-head"),
            *("pixel-shuffle", "pixel-unshuffle", "group-norm", "instance-norm", "layer-norm-channels"),
            *("channel-softmax", "channel-shuffle", "squeeze-excite", "global-max-pool", "conv-transpose"),
            *("conv-transpose-groups", "conv-transpose-depthwise", "conv-transpose-wide"),
            *("upsample-nearest", "upsample-bilinear", "upsample-corners", "image-attention", "argmax"),
        ),
        _image,
    ),
    **dict.fromkeys(
        (
            *("ecg-conv1d", "weight-norm-tcn", "conv1d-dilated", "conv1d-groups", "conv1d-depthwise"),
            *("conv-transpose1d", "adaptive-pool1d", "max-pool1d"),
            *("interpolate1d-linear", "interpolate1d-nearest"),
        ),
        _signal,
    ),
    **dict.fromkeys(("einsum-attention", "multihead-attention", "encoder-layer"), _sequence),
    **dict.fromkeys(("gru", "lstm"), _steps),
    **dict.fromkeys(("tied-linear", "topk", "cumsum"), _small),
    **dict.fromkeys(("tokens-plain", "tokens-conv", "tokens-encoder"), _tokens),
    "tokens-int32": partial(_tokens, "int32"),
    "tokens-mask": partial(_masked, "float32"),
    "tokens-bool-mask": partial(_masked, "bool"),
    "uint8-image": _pixels,
}

CASE_NETWORKS: Mapping[str, CaseNetwork] = MappingProxyType(
    {name: CaseNetwork(partial(_made, name), inputs) for name, inputs in _INPUTS.items()}
)
"""Name → network. torch is imported when one is made."""
