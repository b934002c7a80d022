"""Families of what stands between layers with weights: arithmetic, normalizations, and what only moves values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekit.latency.fusing import Fusing
from edgekit.latency.unit import Family, Operand, UnitPrecision
from edgekit.latency.wires import Wires

__all__ = ["function_family", "moving_family", "pointwise_family", "vanishes"]

Sized = tuple[Family, int]
"""A family and its channels."""


def function_family(wires: Wires, node: Any, precision: UnitPrecision, fusing: Fusing) -> Sized | None:
    """Of LayerNormalization, Softmax, GELU as nodes or one, and of a mean over tokens; None for other axes.

    `precision`: the network's.
    """
    tensor = node.input[0]
    shape, last = wires.shapes.of(tensor), len(wires.shapes.of(tensor)) - 1
    if last < 0:
        return None
    rows = (wires.values(tensor) // shape[-1], 1)
    in_float = fusing.functions_in_float
    family = Family(
        "pointwise", rows, "fp32" if in_float else precision, activation="Gelu",
        rounded=in_float and fusing.rounds_functions and precision == "int8",
    )  # fmt: skip
    if node.op_type in ("LayerNormalization", "Softmax"):
        if int(wires.shapes.attribute(node, "axis", -1)) not in (-1, last):
            return None
        if node.op_type == "LayerNormalization":
            return replace(family, kind="norm", activation=""), shape[-1]
        scaled = wires.scale_of(wires.makers.get(tensor)) is not None  # in float, which then is not rounded
        return replace(family, kind="softmax", activation="", rounded=family.rounded and not scaled), shape[
            -1
        ]
    if node.op_type == "ReduceMean":
        if last != 2 or shape[0] != 1 or _axes(wires, node) != [1]:
            return None
        return replace(family, kind="average", activation=""), shape[-1]
    return family, shape[-1]


def pointwise_family(wires: Wires, node: Any, precision: UnitPrecision) -> Sized | None:
    """Of an operation with stored numbers; None where these are neither one, nor one per channel, nor as many as the
    tensor has."""
    (tensor,) = wires.computed(node)
    stored = next(name for name in node.input if name != tensor)
    shape, numbers = wires.shapes.of(tensor), wires.shapes.of(stored)
    if not shape:
        return None
    size, channels = wires.shapes.size_and_channels(tensor)
    if not wires.is_image(tensor):
        # A number times a tensor takes as long in whatever order its values lie: as heads have them.
        maker = wires.makers.get(tensor)
        if wires.values(stored) == 1 and maker is not None and maker.op_type == "Transpose":
            shape = wires.shapes.of(maker.input[0])
        size, channels = (wires.values(tensor) // shape[-1], 1), shape[-1]
    axis = -3 if size[1] > 1 else -1
    per_channel = len(numbers) >= -axis and numbers[axis] == channels == wires.values(stored)
    operand: Operand
    if wires.values(stored) == 1:
        operand = "scalar"
    elif per_channel:
        operand = "channels"
    elif wires.values(stored) == wires.values(tensor):
        operand = "whole"
    else:
        return None
    return Family("pointwise", size, precision, activation=node.op_type, operand=operand), channels


def moving_family(wires: Wires, node: Any, precision: UnitPrecision, fusing: Fusing) -> Sized | None:
    """Of a Transpose, or of a Gather that takes one place of an axis; None for others. See `Family.shape`."""
    shape = wires.shapes.of(node.input[0])
    if len(shape) < 2:
        return None
    if node.op_type == "Transpose":
        axes = tuple(int(axis) for axis in wires.shapes.attribute(node, "perm", range(len(shape))[::-1]))
        channels = 1 if _makes_tokens(wires, node, axes) else len(shape) - 1
        kind: Any = "transpose"
    else:
        place = wires.shapes.of(node.input[1]) if node.input[1] in wires.shapes.weights else None
        axes = (int(wires.shapes.attribute(node, "axis", 0)) % len(shape),)
        channels, kind = len(shape) - 1, "slice"
        if place is None or place != () or axes[0] == channels:
            return None
    width = shape[channels]
    marked = tuple(0 if axis == channels else size for axis, size in enumerate(shape))
    rounded = kind == "slice" and fusing.rounds_places and precision == "int8"
    size = (wires.values(node.input[0]) // width, 1)
    in_type: UnitPrecision = "fp32" if rounded else precision
    return Family(kind, size, in_type, rounded=rounded, shape=marked, axes=axes), width


def vanishes(wires: Wires, node: Any, fusing: Fusing) -> bool:
    """Whether a Transpose moves nothing: axes of size 1 alone, or channels of an image that has them last already."""
    if node.op_type != "Transpose":
        return False
    shape = wires.shapes.of(node.input[0])
    axes = tuple(int(axis) for axis in wires.shapes.attribute(node, "perm", range(len(shape))[::-1]))
    moved = [axis for axis in axes if axis < len(shape) and shape[axis] != 1]
    return (bool(shape) and moved == sorted(moved)) or (
        fusing.channels_last and _makes_tokens(wires, node, axes)
    )


def _makes_tokens(wires: Wires, node: Any, axes: tuple[int, ...]) -> bool:
    """Whether a Transpose has the channels of a flattened image before it."""
    maker = wires.makers.get(node.input[0])
    return (
        axes == (0, 2, 1)
        and maker is not None
        and maker.op_type in ("Flatten", "Reshape")
        and wires.is_image(maker.input[0])
    )


def _axes(wires: Wires, node: Any) -> list[int]:
    """Of a reduction, by its attribute, or by its stored input."""
    rank = len(wires.shapes.of(node.input[0]))
    given = wires.shapes.attribute(node, "axes", None)
    if given is None and len(node.input) > 1:
        given = wires.shapes.stored(node.input[1])
    return [int(axis) % rank for axis in given] if given is not None else []
