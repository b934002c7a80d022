"""Networks: what they take and give, what they cost, and the variants of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.types.sparsity import Sparsity

__all__ = [
    "Cost",
    "InputShape",
    "LayerCost",
    "Preprocess",
    "Signature",
    "TensorSpec",
    "Variant",
    "VariantKind",
]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `dtype` is numpy's name; a dynamic dimension is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class InputShape:
    """The shape of one input as the user gives it, batch included; without a name where the network has one input."""

    name: str
    dims: tuple[int, ...]

    def text(self) -> str:
        """As the option takes it: `x=1x3x320x320`."""
        sizes = "x".join(str(size) for size in self.dims)
        return f"{self.name}={sizes}" if self.name else sizes


@dataclass(frozen=True)
class Signature:
    """What a network takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Preprocess:
    """How stored samples become network inputs: layout, channels, resize, crop, divide by scale, (x - mean) / std.

    `input_layout` is the layout of the *stored* samples; networks are fed NCHW. `channels`: what the network takes
    where samples are stored as RGB or as grey; None leaves them. `resize` and `crop` are pixels: one number is the
    shorter side, and a centred square; two are width and height. `letterbox`: resizing to two keeps an image's
    proportions, centred, and fills the rest with this stored value (114 is common); None stretches. `mean` and `std`
    hold one value per channel, or one for all.
    """

    input_layout: Literal["nhwc", "nchw", "as-is"] = "as-is"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    channels: Literal["rgb", "bgr", "grey"] | None = None
    letterbox: int | None = None


@dataclass(frozen=True)
class LayerCost:
    """One node of the float graph, at batch 1."""

    name: str
    op: str
    macs: int
    parameters: int
    output_bytes: int


@dataclass(frozen=True)
class Cost:
    """Batch-1 cost of one float network. `activation_bytes` is the peak of live activations in graph order."""

    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    layers: tuple[LayerCost, ...] = ()


VariantKind = Literal["original", "pruned", "low-rank", "student", "qat", "sparse"]


@dataclass(frozen=True)
class Variant:
    """One float network, exported to ONNX once. `digest` is the SHA-256 of the ONNX file.

    `sparsity`: which of its weights were made zero; None: none.
    """

    id: str
    kind: VariantKind
    parent: str | None
    description: str
    onnx_path: str
    digest: str
    signature: Signature
    cost: Cost
    sparsity: Sparsity | None = None
