"""The plan's ranges in a network that NNCF has quantized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.quantize import Range, affine_parameters

__all__ = ["replace_ranges"]


def replace_ranges(quantized: Any, ranges: Mapping[str, Range]) -> None:
    """Overwrite what NNCF found for activations with the ranges (tensor → range), in place.

    A tensor without one keeps NNCF's: those that only OpenVINO has. Where NNCF saw no negative value its quantizer is
    unsigned, and stays so.
    """
    for node in quantized.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        low = node.input_value(1).get_node()
        name = min(node.input_value(0).get_names() & ranges.keys(), default="")
        if name and low.get_type_name() == "Constant" and low.data.size == 1:  # one range for all of it
            values = ranges[name]
            if float(low.data.reshape(-1)[0]) >= 0:
                values = Range(max(values.low, 0.0), max(values.high, 0.0))
            _set_range(node, values)


def _set_range(node: Any, values: Range) -> None:
    """Give a FakeQuantize the range, moved so that zero is one of its levels."""
    from openvino import opset13

    grid = affine_parameters(values, 0, node.get_attributes()["levels"] - 1)
    low = (grid.low - grid.zero_point) * grid.scale
    high = (grid.high - grid.zero_point) * grid.scale
    shape = list(node.input_value(1).get_shape())
    for port, value in ((1, low), (2, high), (3, low), (4, high)):
        constant = opset13.constant(np.full(shape, value, np.float32))
        node.input(port).replace_source_output(constant.output(0))
