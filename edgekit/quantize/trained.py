"""Ranges that were trained with a network, carried in its ONNX file: they belong to its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.errors import StageError
from edgekit.quantize.observers.ranges import Range

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["OBSERVED", "trained_by_channel", "trained_ranges", "with_trained"]

Value = TypeVar("Value")

KEY = "edgekit.trained_ranges"
"""Of the file's metadata; JSON: tensor → lowest and highest value."""

CHANNELS_KEY = "edgekit.trained_channel_ranges"
"""As KEY, for tensors whose channels have ranges of their own; JSON: tensor → lowest and highest value of each."""

OBSERVED = "minmax"
"""What observes tensors of a trained network that have no trained range: those that only a runtime's own file has."""


def with_trained(
    model: onnx.ModelProto,
    weights: Mapping[str, NDArray[Any]],
    ranges: Mapping[str, Range],
    by_channel: Mapping[str, tuple[Range, ...]] | None = None,
) -> onnx.ModelProto:
    """A copy with these initializers (name → values of the same shape) and these ranges (tensor → range, and tensor →
    that of each channel)."""
    import msgspec
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    kept = [entry for entry in copy.metadata_props if entry.key not in (KEY, CHANNELS_KEY)]
    del copy.metadata_props[:]
    copy.metadata_props.extend(kept)
    told = {name: (values.low, values.high) for name, values in ranges.items()}
    copy.metadata_props.add(key=KEY, value=msgspec.json.encode(told, order="sorted").decode())
    if by_channel:
        channels = {name: [(of.low, of.high) for of in several] for name, several in by_channel.items()}
        copy.metadata_props.add(
            key=CHANNELS_KEY, value=msgspec.json.encode(channels, order="sorted").decode()
        )
    return copy


def trained_ranges(model: onnx.ModelProto) -> dict[str, Range]:
    """Tensor → range, as `with_trained` wrote them. Raises StageError where there are none, or they are damaged."""
    ends = _written(model, KEY, dict[str, tuple[float, float]])
    if ends is None:
        raise StageError(
            "quantize",
            "the network holds no trained ranges, which this recipe writes down",
            "train it with --qat always, or give another recipe, e.g. int8-mse",
        )
    return {name: _range(low, high) for name, (low, high) in ends.items()}


def trained_by_channel(model: onnx.ModelProto) -> dict[str, tuple[Range, ...]]:
    """Tensor → the range of each of its channels, as `with_trained` wrote them. Raises StageError for damaged ones."""
    ends = _written(model, CHANNELS_KEY, dict[str, list[tuple[float, float]]]) or {}
    return {name: tuple(_range(low, high) for low, high in several) for name, several in ends.items()}


def _written(model: onnx.ModelProto, key: str, kind: type[Value]) -> Value | None:
    import msgspec

    content = next((entry.value for entry in model.metadata_props if entry.key == key), None)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise _damaged(error) from error


def _range(low: float, high: float) -> Range:
    try:
        return Range(low, high)
    except ValueError as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> StageError:
    return StageError("quantize", f"the network's trained ranges are damaged: {error}", "train it anew")
