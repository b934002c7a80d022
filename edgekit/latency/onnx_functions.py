"""Copies of what stands between layers, node by node: see `edgekit.latency.onnx_layers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgekit.latency.onnx_layers import OnnxLayers
    from edgekit.latency.unit import Kind

__all__ = ["CLIP_HIGH", "WRITERS", "activated"]

CLIP_HIGH = np.float32(6.0)
ARITHMETIC = ("Add", "Mul", "Sub", "Div")


def activated(layers: OnnxLayers, name: str, tensor: str, activation: str) -> str:
    """The tensor behind an activation, by ONNX's operator, or GELU as torch writes it; "" leaves it as it is."""
    if activation == "Gelu":
        return gelu(layers, name, tensor)
    if activation != "Clip":
        return layers.node(activation, [tensor], f"{name}.act") if activation else tensor
    low = layers.constant(f"{name}.low", np.array(0, np.float32))
    high = layers.constant(f"{name}.high", np.array(CLIP_HIGH))
    return layers.node("Clip", [tensor, low, high], f"{name}.act")


def gelu(layers: OnnxLayers, name: str, tensor: str) -> str:
    """x · (1 + erf(x / √2)) / 2."""
    root = layers.constant(f"{name}.root", np.array(np.sqrt(2), np.float32))
    unity = layers.constant(f"{name}.unity", np.array(1, np.float32))
    half = layers.constant(f"{name}.half", np.array(0.5, np.float32))
    inside = layers.node("Erf", [layers.node("Div", [tensor, root], f"{name}.div")], f"{name}.erf")
    raised = layers.node("Add", [inside, unity], f"{name}.raised")
    return layers.node("Mul", [layers.node("Mul", [tensor, raised], f"{name}.mul"), half], f"{name}.gelu")


def pointwise(layers: OnnxLayers, name: str, tensor: str) -> str:
    """An operator with stored numbers, or an activation."""
    family, channels = layers.family, layers.unit.channels_in
    if family.activation not in ARITHMETIC:
        return activated(layers, name, tensor, family.activation)
    shapes: Mapping[str, tuple[int, ...]] = {
        "channels": (1, channels, 1, 1) if family.is_image else (channels,),
        "scalar": (),
        "whole": layers.shape(channels, family.size),
    }
    numbers = np.asarray(layers.rng.uniform(0.5, 1.5, shapes[family.operand]), np.float32)
    return layers.node(
        family.activation, [tensor, layers.constant(f"{name}.numbers", numbers)], f"{name}.out"
    )


def norm(layers: OnnxLayers, name: str, tensor: str) -> str:
    ones = layers.constant(f"{name}.ones", np.ones(layers.unit.channels_in, np.float32))
    zeros = layers.constant(f"{name}.zeros", np.zeros(layers.unit.channels_in, np.float32))
    return layers.node("LayerNormalization", [tensor, ones, zeros], f"{name}.out", axis=-1)


def softmax(layers: OnnxLayers, name: str, tensor: str) -> str:
    return layers.node("Softmax", [tensor], f"{name}.out", axis=-1)


def transpose(layers: OnnxLayers, name: str, tensor: str) -> str:
    return layers.node("Transpose", [own(layers, name, tensor)], f"{name}.out", perm=layers.family.axes)


def place(layers: OnnxLayers, name: str, tensor: str) -> str:
    """The first one of an axis."""
    first = layers.constant(f"{name}.place", np.array(0, np.int64))
    return layers.node(
        "Gather", [own(layers, name, tensor), first], f"{name}.out", axis=layers.family.axes[0]
    )


def own(layers: OnnxLayers, name: str, tensor: str) -> str:
    """An input of its own for each copy: equal ones of one tensor would be one."""
    if name == "layer0":
        return tensor
    return layers.given_integers(f"{name}.given", layers.shape(layers.unit.channels_in, layers.family.size))


WRITERS: Mapping[Kind, Callable[[Any, str, str], str]] = {
    "norm": norm, "pointwise": pointwise, "slice": place, "softmax": softmax, "transpose": transpose,
}  # fmt: skip
"""Kind → what writes one copy of it behind a tensor."""
