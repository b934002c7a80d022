"""The plan's ranges, and those of small weights, in a network that NNCF has quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.quantize import Range, affine_parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.quantize import QuantPlan

__all__ = ["refine_weights", "replace_ranges"]

WEIGHT_LEVELS = 255
"""Of symmetric weights."""


def replace_ranges(quantized: Any, plan: QuantPlan) -> None:
    """Overwrite what NNCF found for activations with the plan's ranges, in place.

    A tensor without one keeps NNCF's: those that only OpenVINO has. So do the channels of one that the plan has a range
    of as a whole alone, unless that was trained: the network is then used to it. Where NNCF saw no negative value in
    any channel its quantizer is unsigned, and stays so; of a tensor as a whole it averages the least values of samples,
    and would cut off what lies below zero in some.
    """
    for node in quantized.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        low = node.input_value(1).get_node()
        name = min(node.input_value(0).get_names() & plan.ranges.keys(), default="")
        if not name or low.get_type_name() != "Constant":
            continue
        count = low.data.size
        by_channel = plan.by_channel.get(name, ())
        if count > 1 and len(by_channel) == count:
            ranges = by_channel
        elif count == 1 or plan.observer == "trained":
            ranges = (plan.ranges[name],) * count
        else:
            continue
        if count > 1 and float(low.data.min()) >= 0:
            ranges = tuple(Range(max(values.low, 0.0), max(values.high, 0.0)) for values in ranges)
        _set_ranges(node, ranges)


def refine_weights(quantized: Any) -> None:
    """Give each channel of 8-bit weights the range of its own largest weight, in place.

    NNCF gives none less than a hundredth of the largest channel's (`fix_zero_filters_symmetric` of its 3.4.0): where
    channels differ by more, the small ones would have a few levels alone. Channels of zeros keep NNCF's.
    """
    for node in quantized.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize" or node.get_attributes()["levels"] != WEIGHT_LEVELS:
            continue
        weights, high = (node.input_value(port).get_node() for port in (0, 2))
        if {weights.get_type_name(), high.get_type_name()} != {"Constant"} or high.data.size == 1:
            continue
        others = tuple(axis for axis, size in enumerate(high.data.shape) if size == 1)
        largest = np.abs(np.asarray(weights.data, np.float32)).max(axis=others, keepdims=True)
        edge = np.where((largest > 0) & (largest < high.data), largest, high.data)
        _set_ends(node, -edge, edge)


def _set_ranges(node: Any, ranges: tuple[Range, ...]) -> None:
    """Give a FakeQuantize the range of each channel, or one, moved so that zero is one of its levels."""
    grids = [affine_parameters(values, 0, node.get_attributes()["levels"] - 1) for values in ranges]
    lows = [(grid.low - grid.zero_point) * grid.scale for grid in grids]
    highs = [(grid.high - grid.zero_point) * grid.scale for grid in grids]
    shape = list(node.input_value(1).get_shape())
    _set_ends(node, np.reshape(lows, shape), np.reshape(highs, shape))


def _set_ends(node: Any, lows: NDArray[Any], highs: NDArray[Any]) -> None:
    from openvino import opset13

    for port, ends in ((1, lows), (2, highs), (3, lows), (4, highs)):
        constant = opset13.constant(ends.astype(np.float32))
        node.input(port).replace_source_output(constant.output(0))
