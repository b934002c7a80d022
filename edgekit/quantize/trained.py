"""Ranges that were trained with a network, carried in its ONNX file: they belong to its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import StageError
from edgekit.quantize.observers.ranges import Range

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["OBSERVED", "trained_ranges", "with_trained"]

KEY = "edgekit.trained_ranges"
"""Of the file's metadata; JSON: tensor → lowest and highest value."""

OBSERVED = "minmax"
"""What observes tensors of a trained network that have no trained range: those that only a runtime's own file has."""


def with_trained(
    model: onnx.ModelProto, weights: Mapping[str, NDArray[Any]], ranges: Mapping[str, Range]
) -> onnx.ModelProto:
    """A copy with these initializers (name → values of the same shape) and these ranges (tensor → range)."""
    import msgspec
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    kept = [entry for entry in copy.metadata_props if entry.key != KEY]
    del copy.metadata_props[:]
    copy.metadata_props.extend(kept)
    told = {name: (values.low, values.high) for name, values in ranges.items()}
    copy.metadata_props.add(key=KEY, value=msgspec.json.encode(told, order="sorted").decode())
    return copy


def trained_ranges(model: onnx.ModelProto) -> dict[str, Range]:
    """Tensor → range, as `with_trained` wrote them. Raises StageError where there are none, or they are damaged."""
    import msgspec

    written = next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
    if written is None:
        raise StageError(
            "quantize",
            "the network holds no trained ranges, which this recipe writes down",
            "train it with --qat always, or give another recipe, e.g. int8-mse",
        )
    try:
        ends = msgspec.json.decode(written, type=dict[str, tuple[float, float]])
        return {name: Range(low, high) for name, (low, high) in ends.items()}
    except (ValueError, msgspec.DecodeError) as error:
        raise StageError(
            "quantize", f"the network's trained ranges are damaged: {error}", "train it anew"
        ) from error
