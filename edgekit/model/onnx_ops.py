"""ONNX operators as torch functions: arithmetic, and what moves or reduces data. Loaded by `onnx_torch` alone.

Each builder looks at one node and gives the `Call` that computes it, or raises Refused. Forms are chosen for
what becomes of them in LiteRT: Clip 0…6 stays ReLU6 so that it fuses, a mean over the image is a pooling, so that
no transpose is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from edgekit.model.onnx_node import Call, NodeView, Refused

__all__ = ["OPS"]

Tensor = torch.Tensor
Builder = Callable[[NodeView], Call]

UNARY: Mapping[str, Callable[..., Any]] = {
    "Abs": torch.abs, "Ceil": torch.ceil, "Cos": torch.cos, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "HardSwish": functional.hardswish, "Identity": lambda x: x, "Log": torch.log,
    "Mish": functional.mish, "Neg": torch.neg, "Not": torch.logical_not, "Reciprocal": torch.reciprocal,
    "Relu": functional.relu, "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign,
    "Sin": torch.sin, "Softplus": functional.softplus, "Softsign": functional.softsign, "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}  # fmt: skip

BINARY: Mapping[str, Callable[..., Any]] = {
    "Add": torch.add, "And": torch.logical_and, "Div": torch.div, "Equal": torch.eq, "Greater": torch.gt,
    "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le, "Mul": torch.mul,
    "Or": torch.logical_or, "Pow": torch.pow, "Sub": torch.sub, "Where": torch.where, "Xor": torch.logical_xor,
}  # fmt: skip


def _same(function: Callable[..., Any]) -> Builder:
    """A node that is one torch function of all its inputs."""
    return lambda node: Call(function, node.operands())


def _divide(node: NodeView) -> Call:
    """Division of integers rounds towards zero in ONNX."""
    other = node.operand(1)
    if isinstance(other, np.ndarray) and np.issubdtype(other.dtype, np.integer):
        return Call(partial(torch.div, rounding_mode="trunc"), node.operands())
    return Call(torch.div, node.operands())


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    """Max, Min, Sum: of any number of inputs."""

    def fold(*values: Tensor) -> Tensor:
        result = values[0]
        for value in values[1:]:
            result = function(result, value)
        return result

    return lambda node: Call(fold, node.operands())


def _clip(node: NodeView) -> Call:
    if node.opset < 11:
        low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    else:
        low = float(node.constant(1)) if node.has(1) else -math.inf
        high = float(node.constant(2)) if node.has(2) else math.inf
    if (low, high) == (0.0, 6.0):
        return Call(functional.relu6, node.operands(1))
    if low == 0.0 and high > 3e38:
        return Call(functional.relu, node.operands(1))
    limits = {"min": low if low > -3e38 else None, "max": high if high < 3e38 else None}
    return Call(partial(torch.clamp, **limits), node.operands(1))


def _gelu(node: NodeView) -> Call:
    kind = node.attribute("approximate", "none")
    return Call(partial(functional.gelu, approximate=kind), node.operands(1))


def _hard_sigmoid(node: NodeView) -> Call:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-4) and beta == 0.5:
        return Call(functional.hardsigmoid, node.operands(1))
    return Call(lambda x: torch.clamp(x * alpha + beta, 0.0, 1.0), node.operands(1))


def _leaky_relu(node: NodeView) -> Call:
    return Call(
        partial(functional.leaky_relu, negative_slope=node.attribute("alpha", 0.01)), node.operands(1)
    )


def _elu(node: NodeView) -> Call:
    return Call(partial(functional.elu, alpha=node.attribute("alpha", 1.0)), node.operands(1))


def _prelu(node: NodeView) -> Call:
    """One slope, or one per channel; others as arithmetic."""
    slope = node.constant(1)
    channels = node.shape()[1] if node.rank() > 1 else 1
    per_channel = slope.size == channels and slope.ndim in (node.rank() - 1, node.rank())
    if slope.size == 1 or (per_channel and slope.shape[-node.rank() + 1] == channels):
        return Call(functional.prelu, (node.operand(0), slope.ravel()))
    return Call(lambda x, s: torch.relu(x) - s * torch.relu(-x), (node.operand(0), slope))


def _softmax(function: Callable[..., Any]) -> Builder:
    def build(node: NodeView) -> Call:
        axis = node.axis(node.attribute("axis", -1 if node.opset >= 13 else 1))
        if node.opset < 13 and math.prod(node.shape()[axis + 1 :]) != 1:
            raise Refused(f"{node.op} of opset {node.opset} over several axes at once")
        return Call(partial(function, dim=axis), node.operands(1))

    return build


def _cast(node: NodeView) -> Call:
    import onnx

    wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to")))
    kind = torch.from_numpy(np.zeros(1, wanted)).dtype
    return Call(lambda x: x.to(kind), node.operands(1))


def _to_output_shape(node: NodeView) -> Call:
    """Reshape, Flatten, Squeeze, Unsqueeze: all shapes are static."""
    shape = node.output_shape()
    if any(size < 0 for size in shape):
        raise Refused(f"{node.op} gives a shape that is not static")
    return Call(lambda x: x.reshape(shape), node.operands(1))


def _transpose(node: NodeView) -> Call:
    order = node.attribute("perm", list(reversed(range(node.rank()))))
    return Call(lambda x: x.permute(order), node.operands(1))


def _concat(node: NodeView) -> Call:
    axis = node.axis(node.attribute("axis"), len(node.output_shape()))
    return Call(lambda *parts: torch.cat(parts, axis), node.operands())


def _split(node: NodeView) -> Call:
    axis = node.axis(node.attribute("axis", 0))
    size, parts = node.shape()[axis], len(node.proto.output)
    if node.has(1):
        sizes = node.numbers(1)
    else:
        largest = -(-size // parts)
        sizes = node.attribute("split") or [*[largest] * (parts - 1), size - largest * (parts - 1)]
    return Call(lambda x: torch.split(x, list(sizes), axis), node.operands(1))


def _slice(node: NodeView) -> Call:
    rank = node.rank()
    if node.opset < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes", list(range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = node.numbers(1), node.numbers(2)
        axes = node.numbers(3) if node.has(3) else list(range(len(starts)))
        steps = node.numbers(4) if node.has(4) else [1] * len(starts)
    index = [slice(None)] * rank
    flipped = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis, size = axis % rank, node.shape()[axis % rank]
        if step < 0:
            taken = range(*slice(start, end if end >= -size else None, step).indices(size))
            if not len(taken):
                raise Refused("Slice gives nothing")
            flipped.append(axis)
            index[axis] = slice(taken[-1], taken[0] + 1, -step)
        else:
            index[axis] = slice(*slice(start, end, step).indices(size))
    place = tuple(index)
    if flipped:
        return Call(lambda x: torch.flip(x[place], flipped), node.operands(1))
    return Call(lambda x: x[place], node.operands(1))


def _gather(node: NodeView) -> Call:
    axis = node.axis(node.attribute("axis", 0))
    if node.is_constant(0):
        if axis != 0:
            raise Refused("Gather of a constant along another axis than the first")
        return Call(lambda table, index: functional.embedding(index.long(), table), node.operands())
    indices = node.constant(1).astype(np.int64)
    size = node.shape()[axis]
    indices = np.where(indices < 0, indices + size, indices)
    if indices.ndim == 0:
        return Call(lambda x: x.select(axis, int(indices)), node.operands(1))
    if indices.ndim > 1:
        raise Refused("Gather with indices of more than one dimension")
    steps = np.diff(indices)
    if len(indices) and (steps == (steps[0] if len(steps) else 1)).all() and (not len(steps) or steps[0] > 0):
        step = int(steps[0]) if len(steps) else 1
        place = (slice(None),) * axis + (slice(int(indices[0]), int(indices[-1]) + 1, step),)
        return Call(lambda x: x[place], node.operands(1))
    return Call(lambda x, index: x.index_select(axis, index), (node.operand(0), indices))


def _expand(node: NodeView) -> Call:
    shape = node.output_shape()
    return Call(lambda x: x.expand(shape), node.operands(1))


def _tile(node: NodeView) -> Call:
    repeats = node.numbers(1)
    return Call(lambda x: x.repeat(repeats), node.operands(1))


PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def _pad(node: NodeView) -> Call:
    mode = PAD_MODES.get(node.attribute("mode", "constant"))
    if mode is None:
        raise Refused(f"Pad in mode {node.attribute('mode')}")
    rank = node.rank()
    if node.opset < 11:
        amounts, value = list(node.attribute("pads")), float(node.attribute("value", 0.0))
    else:
        amounts = node.numbers(1)
        value = float(node.constant(2).ravel()[0]) if node.has(2) else 0.0
    axes = [axis % rank for axis in node.numbers(3)] if node.has(3) else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = amounts[place], amounts[place + len(axes)]
    pads = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
    while len(pads) > 2 and pads[-2:] == [0, 0]:
        pads = pads[:-2]
    if mode == "constant":
        return Call(lambda x: functional.pad(x, pads, value=value), node.operands(1))
    if len(pads) > 2 * (rank - 2) or rank not in (3, 4):
        raise Refused(f"Pad in mode {node.attribute('mode')} beyond the image")
    pads += [0] * (2 * (rank - 2) - len(pads))
    return Call(lambda x: functional.pad(x, pads, mode=mode), node.operands(1))


def _axes(node: NodeView) -> list[int]:
    """Axes of a reduction: an input in newer opsets, an attribute in older ones; none given are all."""
    given = node.numbers(1) if node.has(1) else node.attribute("axes")
    if not given and node.attribute("noop_with_empty_axes", 0):
        return []
    return sorted(node.axis(int(axis)) for axis in (given or range(node.rank())))


def _mean(node: NodeView) -> Call:
    axes, keep = _axes(node), bool(node.attribute("keepdims", 1))
    if axes == [2, 3] and node.rank() == 4:
        shape = node.output_shape()
        return Call(lambda x: functional.adaptive_avg_pool2d(x, 1).reshape(shape), node.operands(1))
    return Call(lambda x: x.mean(axes, keepdim=keep), node.operands(1))


def _reduce(function: Callable[..., Any]) -> Builder:
    def build(node: NodeView) -> Call:
        axes, keep = _axes(node), bool(node.attribute("keepdims", 1))
        return Call(partial(function, dim=axes, keepdim=keep), node.operands(1))

    return build


def _arg(function: Callable[..., Any]) -> Builder:
    def build(node: NodeView) -> Call:
        axis, keep = node.axis(node.attribute("axis", 0)), bool(node.attribute("keepdims", 1))
        if node.attribute("select_last_index", 0):
            raise Refused(f"{node.op} that takes the last of equal values")
        return Call(partial(function, dim=axis, keepdim=keep), node.operands(1))

    return build


def _rearrange(node: NodeView) -> Call:
    """DepthToSpace and SpaceToDepth on [N, C, H, W]."""
    block = node.attribute("blocksize")
    count, channels, height, width = node.shape()
    if node.op == "SpaceToDepth":
        return Call(
            lambda x: (
                x.reshape(count, channels, height // block, block, width // block, block)
                .permute(0, 3, 5, 1, 2, 4)
                .reshape(count, channels * block * block, height // block, width // block)
            ),
            node.operands(1),
        )
    if node.attribute("mode", "DCR") == "CRD":
        return Call(partial(functional.pixel_shuffle, upscale_factor=block), node.operands(1))
    return Call(
        lambda x: (
            x.reshape(count, block, block, channels // block**2, height, width)
            .permute(0, 3, 4, 1, 5, 2)
            .reshape(count, channels // block**2, height * block, width * block)
        ),
        node.operands(1),
    )


def _drop_out(node: NodeView) -> Call:
    node.one_output()
    return Call(lambda x: x, node.operands(1))


OPS: Mapping[str, Builder] = {
    **{name: _same(function) for name, function in UNARY.items()},
    **{name: _same(function) for name, function in BINARY.items()},
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "DepthToSpace": _rearrange,
    "Div": _divide,
    "Dropout": _drop_out,
    "Elu": _elu,
    "Expand": _expand,
    "Flatten": _to_output_shape,
    "Gather": _gather,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax(functional.log_softmax),
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceL2": _reduce(partial(torch.linalg.vector_norm, ord=2)),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _mean,
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Reshape": _to_output_shape,
    "Slice": _slice,
    "Softmax": _softmax(functional.softmax),
    "SpaceToDepth": _rearrange,
    "Split": _split,
    "Squeeze": _to_output_shape,
    "Sum": _many(torch.add),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _to_output_shape,
}
"""Op type → builder."""
