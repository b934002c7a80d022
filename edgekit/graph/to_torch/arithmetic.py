"""ONNX operators as torch functions: arithmetic and reductions. Loaded by `onnx_torch` alone.

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

from edgekit.graph.to_torch.node import Call, NodeView, Refused

__all__ = ["BINARY", "OPS", "UNARY"]

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


def _broadcast(function: Callable[..., Any]) -> Builder:
    """The same with constants as converters lay them out best: one number plain, others with all axes."""

    def build(node: NodeView) -> Call:
        operands = node.operands()
        places = [place for place, operand in enumerate(operands) if isinstance(operand, str)]
        numbers: dict[int, Any] = {}
        for place, operand in enumerate(operands):
            if isinstance(operand, np.ndarray) and operand.size == 1 and places:
                numbers[place] = operand.item()
        rank = len(node.output_shape())
        kept = tuple(
            operand.reshape((1,) * (rank - operand.ndim) + operand.shape)
            if isinstance(operand, np.ndarray) and operand.size > 1
            else operand
            for place, operand in enumerate(operands)
            if place not in numbers
        )

        def call(*values: Tensor) -> Any:
            left = iter(values)
            return function(*(numbers[p] if p in numbers else next(left) for p in range(len(operands))))

        return Call(call, kept)

    return build


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


def _celu(node: NodeView) -> Call:
    return Call(partial(functional.celu, alpha=node.attribute("alpha", 1.0)), node.operands(1))


def _selu(node: NodeView) -> Call:
    alpha, gamma = node.attribute("alpha", 1.67326319), node.attribute("gamma", 1.05070102)
    return Call(lambda x: gamma * functional.elu(x, alpha=alpha), node.operands(1))


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


def _top_k(node: NodeView) -> Call:
    """The largest along an axis, or the smallest, with their places."""
    count, axis = node.numbers(1)[0], node.axis(node.attribute("axis", -1))
    largest = bool(node.attribute("largest", 1))
    return Call(lambda x: tuple(torch.topk(x, count, axis, largest)), node.operands(1))


def _sum_so_far(node: NodeView) -> Call:
    if node.attribute("exclusive", 0):
        raise Refused("CumSum without the value itself")
    axis = node.axis(node.numbers(1)[0])
    if node.attribute("reverse", 0):
        return Call(lambda x: torch.flip(torch.cumsum(torch.flip(x, [axis]), axis), [axis]), node.operands(1))
    return Call(partial(torch.cumsum, dim=axis), node.operands(1))


def _drop_out(node: NodeView) -> Call:
    node.one_output()
    return Call(lambda x: x, node.operands(1))


OPS: Mapping[str, Builder] = {
    **{name: _same(function) for name, function in UNARY.items()},
    **{name: _broadcast(function) for name, function in BINARY.items()},
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Cast": _cast,
    "Celu": _celu,
    "Clip": _clip,
    "CumSum": _sum_so_far,
    "Div": _divide,
    "Dropout": _drop_out,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax(functional.log_softmax),
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "PRelu": _prelu,
    "ReduceL2": _reduce(partial(torch.linalg.vector_norm, ord=2)),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _mean,
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Selu": _selu,
    "Softmax": _softmax(functional.softmax),
    "Sum": _many(torch.add),
    "TopK": _top_k,
}
"""Op type → builder."""
