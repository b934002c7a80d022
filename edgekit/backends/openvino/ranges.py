"""Our observers' ranges in a network that NNCF has quantized."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.quantize import Range, affine_parameters, collect_ranges

if TYPE_CHECKING:
    from edgekit.backends.base import ExportRequest
    from edgekit.quantize import CalibrationData, Recipe

__all__ = ["replace_ranges"]


def replace_ranges(quantized: Any, request: ExportRequest, recipe: Recipe, data: CalibrationData) -> None:
    """Overwrite what NNCF found for activations with what our observer says of the same tensors."""
    tensors = _activation_quantizers(quantized, _tensor_names(request.variant.onnx_path))
    ranges = collect_ranges(
        request.variant.onnx_path,
        data,
        recipe.observer,
        percentile=recipe.percentile,
        samples=recipe.samples,
        tensors=tuple(tensors),
        threads=request.threads,
    )
    # NNCF gives the inputs of a Concat one common range: those that were equal stay equal.
    groups: dict[tuple[float, float], list[str]] = defaultdict(list)
    for name in tensors:
        groups[_ends(tensors[name][0])].append(name)
    for (low, _high), members in groups.items():
        union = Range(min(ranges[name].low for name in members), max(ranges[name].high for name in members))
        for node in (node for name in members for node in tensors[name]):
            _set_range(node, Range(max(union.low, 0.0), max(union.high, 0.0)) if low >= 0 else union)


def _activation_quantizers(model: Any, known: frozenset[str]) -> dict[str, list[Any]]:
    """Tensor name, one of `known` → the FakeQuantize nodes that read it, with one range for all of it."""
    found: dict[str, list[Any]] = defaultdict(list)
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        source, low = node.input_value(0), node.input_value(1).get_node()
        whole = low.get_type_name() == "Constant" and low.data.size == 1
        names = sorted(source.get_names() & known)
        if whole and names:
            found[names[0]].append(node)
    return dict(found)


def _ends(node: Any) -> tuple[float, float]:
    low, high = (float(node.input_value(port).get_node().data.reshape(-1)[0]) for port in (1, 2))
    return low, high


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


def _tensor_names(onnx_path: str) -> frozenset[str]:
    """What the float network computes: NNCF also quantizes tensors that only OpenVINO has."""
    import onnx

    graph = onnx.load(onnx_path, load_external_data=False).graph
    computed = {name for node in graph.node for name in node.output if name}
    return frozenset(computed | {each.name for each in graph.input})
