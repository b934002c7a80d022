"""Copies of one attention, operation by operation, as the converter and the quantizer leave it: see `litert_layers`.

Scales stand where the converter moves them to, ahead of what turns a tensor: right behind a projection that is into its
weights, and nothing is left of them. With a single head nothing has to be turned, and the scores are a layer whose
weights are the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekit.latency.attention_parts import APART, BY_HEADS, KEYS_BY_HEADS, KEYS_TURNED
from edgekit.latency.litert_functions import (
    arithmetic,
    by_heads,
    by_single_head,
    number,
    numbers,
    part_of,
    place_of,
    reshaped,
    softmax,
    turned,
)

if TYPE_CHECKING:
    from edgekit.latency.litert_layers import FlatbufferLayers
    from edgekit.latency.unit import AttentionForm, Unit

__all__ = ["attention_input", "write_attention"]

FACTOR = np.float32(0.35)

PARTS = ("queries", "keys", "values")


def attention_input(unit: Unit) -> tuple[int, int, int]:
    """Shape of the queries, or of all where one tensor holds them."""
    form = form_of(unit)
    channels = 2 * unit.channels_in + unit.channels_out if form.packed else unit.channels_in
    return 1, unit.family.size[0], unit.family.groups * channels


def write_attention(layers: FlatbufferLayers, tensor: int) -> int:
    """From what the projections make, keys and values being inputs of their own where these are three, to what the last
    one reads."""
    unit, heads = layers.unit, layers.family.groups
    queries, keys = layers.family.size
    key_width, value_width = unit.channels_in, unit.channels_out
    left, right, values = by_part(layers, tensor)
    sizes = queries, key_width, keys
    scores = (
        by_single_head(layers, left, right, sizes)
        if heads == 1
        else by_heads(layers, left, right, heads, sizes)
    )

    def weighed(tensor: int) -> int:
        is_scaled = "scores" in form_of(unit).scaled
        return softmax(layers, scaled(layers, tensor) if is_scaled else tensor)

    weights = as_function(layers, scores, weighed)
    summed = by_heads(layers, weights, values, heads, (queries, keys, value_width))
    return reshaped(
        layers, turned(layers, summed, BY_HEADS) if heads > 1 else summed, (1, queries, heads * value_width)
    )


def by_part(layers: FlatbufferLayers, tensor: int) -> tuple[int, int, int]:
    """Queries, keys and values as the products take them."""
    form = form_of(layers.unit)
    if form.gathered:
        heads, width = layers.family.groups, layers.unit.channels_in
        whole = reshaped(layers, tensor, (1, layers.family.size[0], len(PARTS), heads, width))
        whole = turned(layers, whole, APART)
        parts = [place_of(layers, whole, 0, place) for place in range(len(PARTS))]
    else:
        parts = taken_apart(layers, tensor)
    if form.packed:
        parts = [
            as_function(layers, part, partial(prepared, layers, name))
            if form.biased or name in form.scaled
            else part
            for part, name in zip(parts, PARTS, strict=True)
        ]
    queries, keys, values = parts
    if layers.family.groups == 1:
        return queries, keys, values
    if form.gathered:
        return queries, turned(layers, keys, KEYS_TURNED), values
    return (
        split(layers, queries, BY_HEADS),
        split(layers, keys, KEYS_BY_HEADS),
        split(layers, values, BY_HEADS),
    )


def taken_apart(layers: FlatbufferLayers, tensor: int) -> list[int]:
    """[1, places, channels of all heads] each: slices of one tensor, or three."""
    unit, heads = layers.unit, layers.family.groups
    widths = [heads * unit.channels_in] * 2 + [heads * unit.channels_out]
    if not form_of(unit).packed:
        shapes = [(1, layers.family.size[1], width) for width in widths[1:]]
        return [tensor, *(layers.other(shape, place) for place, shape in enumerate(shapes))]
    begins = 0, widths[0], 2 * widths[0]
    return [part_of(layers, tensor, 2, begin, width) for begin, width in zip(begins, widths, strict=True)]


def prepared(layers: FlatbufferLayers, name: str, tensor: int) -> int:
    """With its bias, and scaled, where its form is so."""
    form, shape = form_of(layers.unit), tuple(layers.tensors[tensor].shape)
    if form.biased:
        bias = numbers(layers, layers.rng.uniform(0.1, 0.5, (1, 1, shape[-1])))
        tensor = arithmetic(layers, "Add", tensor, bias, shape)
    return scaled(layers, tensor) if name in form.scaled else tensor


def scaled(layers: FlatbufferLayers, tensor: int) -> int:
    """Times a stored number."""
    return arithmetic(layers, "Mul", tensor, number(layers, FACTOR), tuple(layers.tensors[tensor].shape))


def as_function(layers: FlatbufferLayers, tensor: int, write: Callable[[int], int]) -> int:
    """What is written behind a tensor, in float between integers where the form is so."""
    if not form_of(layers.unit).float_functions:
        return write(tensor)
    layers.quantized = False
    made = write(layers.crossed(tensor, "DEQUANTIZE"))
    layers.quantized = True
    return layers.crossed(made, "QUANTIZE")


def split(layers: FlatbufferLayers, tensor: int, axes: tuple[int, ...]) -> int:
    """[1, places, channels of all heads] by heads."""
    _, places, channels = layers.tensors[tensor].shape
    heads = layers.family.groups
    return turned(layers, reshaped(layers, tensor, (1, places, heads, channels // heads)), axes)


def form_of(unit: Unit) -> AttentionForm:
    form = unit.family.attention
    assert form is not None
    return form
