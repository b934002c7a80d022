"""ONNX operators that only move data as torch functions. Loaded by `onnx_torch` alone; see `onnx_ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from edgekit.graph.to_torch.node import Call, NodeView, Refused

__all__ = ["MOVES"]


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
        taken, form = _taken(node, axis, indices.ravel()), indices.shape
        return Call(lambda *x: taken.function(*x).unflatten(axis, form), taken.operands)
    return _taken(node, axis, indices)


def _taken(node: NodeView, axis: int, indices: Any) -> Call:
    """Places of an axis, by indices [N] that are not negative."""
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


MOVES: Mapping[str, Callable[[NodeView], Call]] = {
    "Concat": _concat,
    "DepthToSpace": _rearrange,
    "Expand": _expand,
    "Flatten": _to_output_shape,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _to_output_shape,
    "Slice": _slice,
    "SpaceToDepth": _rearrange,
    "Split": _split,
    "Squeeze": _to_output_shape,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _to_output_shape,
}
"""Op type → builder."""
