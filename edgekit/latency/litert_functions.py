"""Copies of what attention consists of, operation by operation: see `edgekit.latency.litert_layers`.

The converter has no LayerNormalization: it writes mean, squared difference, mean, and arithmetic on a value per token,
with reshapes between. The quantizer leaves none of that in float. Of what it makes XNNPACK takes only a part, which
hangs on the scales too: a variance's epsilon has one that XNNPACK's addition refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import StageError

if TYPE_CHECKING:
    from edgekit.latency.litert_layers import FlatbufferLayers
    from edgekit.latency.unit import Kind

__all__ = [
    "WRITERS", "arithmetic", "by_heads", "by_single_head", "number", "numbers", "part_of", "place_of", "reshaped",
    "softmax", "turned",
]  # fmt: skip

LEAST = -128
EPSILON = np.float32(1e-5)
SQUARES, VARIANCE, ROOT, NORMED = 1 / 16, 1 / 64, 1 / 32, 1 / 32
"""Scales of squared differences, of their means, of one over their roots, and of what is normalized."""

SHARES = 1 / 256
"""Scale of what lies between 0 and 1: the kernels take no other."""

WAYS: Mapping[str, tuple[str, tuple[float, int] | None]] = {
    "Gelu": ("GELU", None),
    "HardSwish": ("HARD_SWISH", None),
    "LeakyRelu": ("LEAKY_RELU", None),
    "Relu": ("RELU", None),
    "Clip": ("RELU6", None),
    "Sigmoid": ("LOGISTIC", (SHARES, LEAST)),
    "Tanh": ("TANH", (1 / 128, 0)),
}
"""ONNX's activation → TFLite's, and the scale and zero point of its result where the kernel takes no other."""

OPTIONS = {"GELU": "GeluOptions", "HARD_SWISH": "HardSwishOptions", "LEAKY_RELU": "LeakyReluOptions"}
ARITHMETIC = {"Add": "AddOptions", "Sub": "SubOptions", "Mul": "MulOptions", "Div": "DivOptions"}


def product(layers: FlatbufferLayers, tensor: int) -> int:
    """BATCH_MATMUL, which the converter puts between reshapes that take away and give back the axis of the batch."""
    family, unit = layers.family, layers.unit
    heads, rows = family.groups, family.size[0]
    inner, columns = unit.channels_in // heads, unit.channels_out // heads
    if family.axes:
        return by_single_head(layers, tensor, layers.other((1, 1, columns, inner)), (rows, inner, columns))
    right = layers.other((1, heads, inner, columns))
    return by_heads(layers, tensor, right, heads, (rows, inner, columns))


def by_heads(layers: FlatbufferLayers, left: int, right: int, heads: int, sizes: tuple[int, int, int]) -> int:
    """`sizes`: rows, terms of each sum, columns; of each head."""
    rows, inner, columns = sizes
    sides = [reshaped(layers, left, (heads, rows, inner)), reshaped(layers, right, (heads, inner, columns))]
    options = layers.schema.BatchMatMulOptionsT()
    made = layers.activation((heads, rows, columns), layers.product_scale(inner))
    layers.run("BATCH_MATMUL", sides, made, options, "BatchMatMulOptions")
    return reshaped(layers, made, (1, heads, rows, columns))


def by_single_head(layers: FlatbufferLayers, left: int, right: int, sizes: tuple[int, int, int]) -> int:
    """What the converter makes of one head and a right side that is turned: a layer whose weights are computed, which
    XNNPACK leaves to LiteRT. `sizes`: rows, terms of each sum, columns."""
    rows, inner, columns = sizes
    options = layers.schema.FullyConnectedOptionsT()
    weights = reshaped(layers, right, (columns, inner))
    made = layers.activation((rows, columns), layers.product_scale(inner))
    layers.run("FULLY_CONNECTED", [left, weights, -1], made, options, "FullyConnectedOptions")
    return reshaped(layers, made, (1, 1, rows, columns))


def softmax(layers: FlatbufferLayers, tensor: int) -> int:
    options = layers.schema.SoftmaxOptionsT()
    options.beta = 1.0
    made = layers.activation(tuple(layers.tensors[tensor].shape), SHARES, LEAST)
    return layers.run("SOFTMAX", [tensor], made, options, "SoftmaxOptions")


def norm(layers: FlatbufferLayers, tensor: int) -> int:
    """x / √(v + ε) + (0 − m / √(v + ε)) of means m and variances v per token. Its weights go into the layer behind."""
    tokens, whole = layers.family.size[0], layers.shape(layers.unit.channels_in, layers.family.size)
    column, single = (1, tokens, 1), (tokens,)
    axes = [axis for axis, size in enumerate(whole) if axis == len(whole) - 1 or size == 1]

    def mean(of: int, *grid: float) -> int:
        options = layers.schema.ReducerOptionsT()
        options.keepDims = False
        places = layers.stored(np.array(axes, np.int32))
        return layers.run("MEAN", [of, places], layers.activation(single, *grid), options, "ReducerOptions")

    means = mean(tensor)
    apart = layers.activation(whole, SQUARES, LEAST)
    layers.run(
        "SQUARED_DIFFERENCE", [tensor, reshaped(layers, means, column)], apart,
        layers.schema.SquaredDifferenceOptionsT(), "SquaredDifferenceOptions",
    )  # fmt: skip
    epsilon, zero = number(layers, EPSILON), number(layers, np.float32(0))
    variance = mean(apart, VARIANCE, LEAST)
    more = arithmetic(layers, "Add", variance, epsilon, single, VARIANCE, LEAST)
    root = layers.run("RSQRT", [more], layers.activation(single, ROOT, LEAST))
    moved = arithmetic(layers, "Mul", root, means, single)
    turned = arithmetic(layers, "Sub", zero, moved, single)
    scaled = arithmetic(layers, "Mul", tensor, reshaped(layers, root, column), whole, NORMED)
    return arithmetic(layers, "Add", scaled, reshaped(layers, turned, column), whole, NORMED)


def pointwise(layers: FlatbufferLayers, tensor: int) -> int:
    """An operation with stored numbers, or an activation. Raises StageError for one that TFLite has no operation of."""
    family, channels = layers.family, layers.unit.channels_in
    shape = layers.shape(channels, family.size)
    if family.activation in ARITHMETIC:
        if family.activation == "Div" and layers.quantized:
            raise StageError("measure", f"LiteRT divides no integers: {layers.unit.text()}")
        sizes: Mapping[str, tuple[int, ...]] = {"channels": (channels,), "scalar": (), "whole": shape}
        other = numbers(layers, layers.rng.uniform(0.5, 1.5, sizes[family.operand]))
        return arithmetic(layers, family.activation, tensor, other, shape)
    if family.activation not in WAYS:
        raise StageError("measure", f"LiteRT has no single operation for {layers.unit.text()}")
    kind, grid = WAYS[family.activation]
    name = OPTIONS.get(kind, "")
    options: Any = getattr(layers.schema, f"{name}T")() if name else None
    if kind == "LEAKY_RELU":
        options.alpha = 0.01
    return layers.run(kind, [tensor], layers.activation(shape, *(grid or ())), options, name)


def transpose(layers: FlatbufferLayers, tensor: int) -> int:
    return turned(layers, tensor, layers.family.axes)


def turned(layers: FlatbufferLayers, tensor: int, axes: Sequence[int]) -> int:
    """The same values with their axes in this order."""
    whole = layers.tensors[tensor].shape
    order = layers.stored(np.array(axes, np.int32))
    made = on_grid_of(layers, tensor, tuple(whole[axis] for axis in axes))
    return layers.run(
        "TRANSPOSE", [tensor, order], made, layers.schema.TransposeOptionsT(), "TransposeOptions"
    )


def place(layers: FlatbufferLayers, tensor: int) -> int:
    """The first one of an axis."""
    return place_of(layers, tensor, layers.family.axes[0], 0)


def place_of(layers: FlatbufferLayers, tensor: int, axis: int, index: int) -> int:
    """One place of an axis, which a reshape then takes away."""
    shape = tuple(layers.tensors[tensor].shape)
    made = part_of(layers, tensor, axis, index, 1)
    return reshaped(layers, made, shape[:axis] + shape[axis + 1 :])


def part_of(layers: FlatbufferLayers, tensor: int, axis: int, begin: int, count: int) -> int:
    """So many places of an axis, from `begin` on."""
    shape = layers.tensors[tensor].shape
    begins = tuple(begin if number == axis else 0 for number in range(len(shape)))
    taken = tuple(count if number == axis else size for number, size in enumerate(shape))
    ends = [layers.stored(np.array(values, np.int32)) for values in (begins, taken)]
    made = on_grid_of(layers, tensor, taken)
    return layers.run("SLICE", [tensor, *ends], made, layers.schema.SliceOptionsT(), "SliceOptions")


def arithmetic(
    layers: FlatbufferLayers, kind: str, left: int, right: int, shape: tuple[int, ...], *grid: float
) -> int:
    """One of two tensors, by ONNX's name; `grid`: scale and zero point of the result."""
    name = ARITHMETIC[kind]
    options = getattr(layers.schema, f"{name}T")()
    return layers.run(kind.upper(), [left, right], layers.activation(shape, *grid), options, name)


def reshaped(layers: FlatbufferLayers, tensor: int, shape: tuple[int, ...]) -> int:
    """The same values on the same scale."""
    options = layers.schema.ReshapeOptionsT()
    options.newShape = list(shape)
    made = on_grid_of(layers, tensor, shape)
    sizes = layers.stored(np.array(shape, np.int32))
    return layers.run("RESHAPE", [tensor, sizes], made, options, "ReshapeOptions")


def on_grid_of(layers: FlatbufferLayers, tensor: int, shape: tuple[int, ...]) -> int:
    """A result on the scale of this tensor, as what only moves values has to have."""
    given = layers.tensors[tensor].quantization
    return layers.activation(shape, *(() if given is None else (given.scale[0], given.zeroPoint[0])))


def number(layers: FlatbufferLayers, value: np.float32) -> int:
    """A single stored number, as its own largest integer; zero has the scale of a range that is all but empty."""
    if not layers.quantized:
        return layers.stored(np.array(value))
    scale = max(float(value), 1e-9) / 255
    return layers.stored(np.array(LEAST if value == 0 else 127, np.int8), scale, zero=LEAST)


def numbers(layers: FlatbufferLayers, values: Any) -> int:
    """Stored positive numbers, on one scale."""
    if not layers.quantized:
        return layers.stored(np.asarray(values, np.float32))
    scale = float(np.max(values)) / 255
    return layers.stored(np.asarray(np.rint(values / scale) + LEAST, np.int8), scale, zero=LEAST)


WRITERS: Mapping[Kind, Callable[[Any, int], int]] = {
    "norm": norm, "pointwise": pointwise, "product": product, "slice": place, "softmax": softmax,
    "transpose": transpose,
}  # fmt: skip
"""Kind → what writes one copy of it behind a tensor."""
