"""ONNX operators with windows or weights as torch functions. Loaded by `onnx_torch` alone; see `onnx_ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edgekit.graph.to_torch.node import Call, NodeView, Refused

__all__ = ["LAYERS"]

Tensor = torch.Tensor

CONVOLUTIONS: Mapping[int, Callable[..., Any]] = {
    1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d,
}  # fmt: skip
TRANSPOSED: Mapping[int, Callable[..., Any]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
}


def _window(node: NodeView, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, padding before and after, one value per spatial axis."""
    dims = len(kernel)
    strides = list(node.attribute("strides") or [1] * dims)
    dilations = list(node.attribute("dilations") or [1] * dims)
    pads = list(node.attribute("pads") or [0] * 2 * dims)
    kind = node.attribute("auto_pad", "NOTSET")
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max(0, (-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size)
            for size, stride, dilation, window in zip(
                node.shape()[2:], strides, dilations, kernel, strict=True
            )
        ]
        small = [amount // 2 for amount in total]
        large = [amount - less for amount, less in zip(total, small, strict=True)]
        pads = [*small, *large] if kind == "SAME_UPPER" else [*large, *small]
    return strides, dilations, pads[:dims], pads[dims:]


def _torch_pads(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding in torch's order: the last axis first."""
    return [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]


def _conv(node: NodeView) -> Call:
    weight = node.constant(1)
    dims = weight.ndim - 2
    if dims not in CONVOLUTIONS:
        raise Refused(f"Conv over {dims} axes")
    strides, dilations, before, after = _window(node, weight.shape[2:])
    settings = {"stride": strides, "dilation": dilations, "groups": node.attribute("group", 1)}
    operands = (node.operand(0), weight, *((node.constant(2),) if node.has(2) else ()))
    if before == after:
        return Call(partial(CONVOLUTIONS[dims], padding=before, **settings), operands)
    pads = _torch_pads(before, after)

    def padded(x: Tensor, *parameters: Tensor) -> Tensor:
        y: Tensor = CONVOLUTIONS[dims](functional.pad(x, pads), *parameters, **settings)
        return y

    return Call(padded, operands)


def _conv_transpose(node: NodeView) -> Call:
    """As a transposed convolution without padding, whose result is cut, unless it is as large as its strides say.

    TFLite's TRANSPOSE_CONV has the paddings SAME and VALID and no dilation. A kernel that is longer by zeros at its
    end makes the result longer without another value in it: so comes output_padding.
    """
    weight = node.constant(1)
    dims = weight.ndim - 2
    if dims not in TRANSPOSED:
        raise Refused(f"ConvTranspose over {dims} axes")
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.attribute("output_shape"):
        raise Refused("ConvTranspose whose padding follows from its output")
    strides, dilations, before, after = _window(node, weight.shape[2:])
    weight = _dilated(weight, dilations)
    kernel, sizes = weight.shape[2:], node.output_shape()[2:]
    settings = {"stride": strides, "groups": node.attribute("group", 1)}
    bias = (node.constant(2),) if node.has(2) else ()
    function = TRANSPOSED[dims]
    whole = [(size - 1) * step + k for size, step, k in zip(node.shape()[2:], strides, kernel, strict=True)]
    if before == after and all(
        size == given * step and pad == (k - step) // 2 and (k - step) % 2 == 0
        for size, given, step, pad, k in zip(sizes, node.shape()[2:], strides, before, kernel, strict=True)
    ):
        return Call(partial(function, padding=before, **settings), (node.operand(0), weight, *bias))
    longer = [max(0, cut + size - full) for cut, size, full in zip(before, sizes, whole, strict=True)]
    weight = np.pad(weight, [(0, 0), (0, 0), *((0, more) for more in longer)])
    place = (slice(None), slice(None), *(slice(cut, cut + s) for cut, s in zip(before, sizes, strict=True)))
    uncut = not any(before) and [w + more for w, more in zip(whole, longer, strict=True)] == list(sizes)

    def cropped(x: Tensor, *parameters: Tensor) -> Tensor:
        y: Tensor = function(x, *parameters, **settings)
        return y if uncut else y[place]

    return Call(cropped, (node.operand(0), weight, *bias))


def _dilated(weight: NDArray[Any], dilations: Sequence[int]) -> NDArray[Any]:
    """The kernel with zeros between its values, so that it need not be dilated."""
    kernel = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
    wide = np.zeros((*weight.shape[:2], *kernel), weight.dtype)
    places = (slice(None), slice(None), *(slice(None, None, step) for step in dilations))
    wide[places] = weight
    return wide


def _pool(node: NodeView) -> Call:
    """MaxPool and AveragePool over an image."""
    node.one_output()
    kernel = list(node.attribute("kernel_shape"))
    if len(kernel) != 2:
        raise Refused(f"{node.op} over {len(kernel)} axes")
    strides, dilations, before, after = _window(node, kernel)
    ceil = bool(node.attribute("ceil_mode", 0))
    average = node.op == "AveragePool"
    even = before == after and all(2 * pad <= size for pad, size in zip(before, kernel, strict=True))
    if average and dilations != [1, 1]:
        raise Refused("AveragePool with dilation")
    if even and average:
        counted = bool(node.attribute("count_include_pad", 0))
        places = (kernel, strides, before, ceil, counted)
        return Call(lambda x: functional.avg_pool2d(x, *places), node.operands(1))
    if even:
        plain = {"stride": strides, "padding": before, "dilation": dilations, "ceil_mode": ceil}
        return Call(partial(functional.max_pool2d, kernel_size=kernel, **plain), node.operands(1))
    if average and not node.attribute("count_include_pad", 0):
        raise Refused("AveragePool with uneven padding that is not counted")
    if ceil:
        raise Refused(f"{node.op} with uneven padding and rounding up")
    pads, fill = _torch_pads(before, after), 0.0 if average else float("-inf")

    def padded(x: Tensor) -> Tensor:
        wide = functional.pad(x, pads, value=fill)
        if average:
            return functional.avg_pool2d(wide, kernel, strides)
        return functional.max_pool2d(wide, kernel, strides, dilation=dilations)

    return Call(padded, node.operands(1))


def _global_pool(node: NodeView) -> Call:
    if node.rank() != 4:
        raise Refused(f"{node.op} of a tensor with {node.rank()} axes")
    if node.op == "GlobalMaxPool":
        return Call(lambda x: x.amax((2, 3), keepdim=True), node.operands(1))
    return Call(partial(functional.adaptive_avg_pool2d, output_size=1), node.operands(1))


def _gemm(node: NodeView) -> Call:
    """alpha A B + beta C; with constant B and C one fully connected layer."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    turn_a, turn_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    if turn_a:
        raise Refused("Gemm with its first input transposed")
    weight = node.constant(1).astype(np.float32) * np.float32(alpha)
    weight = weight if turn_b else np.ascontiguousarray(weight.T)
    if not node.has(2):
        return Call(functional.linear, (node.operand(0), weight))
    bias = node.constant(2).astype(np.float32) * np.float32(beta)
    if bias.size in (1, len(weight)) and bias.ndim < 3 and (bias.ndim < 2 or bias.shape[0] == 1):
        wide = np.broadcast_to(bias.ravel(), (len(weight),)).copy()
        return Call(functional.linear, (node.operand(0), weight, wide))
    return Call(lambda x, w, b: functional.linear(x, w) + b, (node.operand(0), weight, bias))


def _matmul(node: NodeView) -> Call:
    """With a constant matrix on the right a fully connected layer."""
    if node.is_constant(1) and node.constant(1).ndim == 2 and not node.is_constant(0):
        return Call(functional.linear, (node.operand(0), np.ascontiguousarray(node.constant(1).T)))
    return Call(torch.matmul, node.operands(2))


def _batch_norm(node: NodeView) -> Call:
    if any(node.proto.output[1:]) or node.attribute("training_mode", 0):
        raise Refused("BatchNormalization in training mode")
    scale, shift, mean, variance = (node.constant(index).astype(np.float64) for index in range(1, 5))
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    form = (1, -1, *[1] * (node.rank() - 2))
    weight = factor.reshape(form).astype(np.float32)
    bias = (shift - mean * factor).reshape(form).astype(np.float32)
    return Call(lambda x, w, b: x * w + b, (node.operand(0), weight, bias))


def _layer_norm(node: NodeView) -> Call:
    if any(node.proto.output[1:]):
        raise Refused("LayerNormalization that also gives its statistics")
    axis, shape = node.axis(node.attribute("axis", -1)), node.shape()
    dims, epsilon = list(shape[axis:]), node.attribute("epsilon", 1e-5)
    call = partial(functional.layer_norm, normalized_shape=dims, eps=epsilon)
    names = ("weight", "bias")[: len(node.proto.input) - 1]
    return Call(lambda x, *rest: call(x, **dict(zip(names, rest, strict=True))), node.operands())


def _instance_norm(node: NodeView) -> Call:
    epsilon = node.attribute("epsilon", 1e-5)
    return Call(lambda x, w, b: functional.instance_norm(x, weight=w, bias=b, eps=epsilon), node.operands(3))


def _resize(node: NodeView) -> Call:
    """Nearest and linear, of images [N, C, H, W] along H and W."""
    mode = node.attribute("mode", "nearest")
    if mode not in ("nearest", "linear") or node.rank() != 4:
        raise Refused(f"{node.op} in mode {mode} of a tensor with {node.rank()} axes")
    shape, wanted = node.shape(), node.output_shape()
    if shape[:2] != wanted[:2]:
        raise Refused(f"{node.op} along other axes than height and width")
    old = node.op == "Upsample" or node.opset < 11
    place = "asymmetric" if old else node.attribute("coordinate_transformation_mode", "half_pixel")
    size = wanted[2:]
    whole = all(new % was == 0 for new, was in zip(size, shape[2:], strict=True))
    if mode == "nearest":
        rounding = "floor" if old else node.attribute("nearest_mode", "round_prefer_floor")
        same = (place == "asymmetric" and rounding == "floor") or (
            whole and place in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round_prefer")
        )
        if not same:
            raise Refused(f"Resize to the nearest value with {place} coordinates and {rounding}")
        return Call(partial(functional.interpolate, size=size, mode="nearest"), node.operands(1))
    if place not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise Refused(f"linear Resize with {place} coordinates")
    if node.attribute("antialias", 0):
        raise Refused("Resize with antialiasing")
    corners = place == "align_corners"
    call = partial(functional.interpolate, size=size, mode="bilinear", align_corners=corners)
    return Call(call, node.operands(1))


def _einsum(node: NodeView) -> Call:
    return Call(partial(torch.einsum, node.attribute("equation")), node.operands())


LAYERS: Mapping[str, Callable[[NodeView], Call]] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Resize": _resize,
    "Upsample": _resize,
}
"""Op type → builder."""
