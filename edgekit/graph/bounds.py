"""Inputs made up for a network without samples: integers that it can take, as it uses them as indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["made_up_inputs"]

SAME_VALUES = frozenset(
    {
        *("Cast", "Concat", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile"),
        *("Transpose", "Unsqueeze"),
    }
)
"""Operators that move values and keep them: what an input's values may be is what theirs may be."""

INDEXED = frozenset({"Gather", "GatherElements"})


def index_limits(model: onnx.ModelProto) -> dict[str, int]:
    """Input → the size of the smallest table that its values are indices of. Needs inferred shapes.

    An input that is no index, or one after arithmetic, is not listed.
    """
    from onnx import helper

    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        sizes.setdefault(info.name, tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim))
    origins: dict[str, frozenset[str]] = {info.name: frozenset({info.name}) for info in model.graph.input}
    limits: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in SAME_VALUES:
            taken = frozenset().union(*(origins.get(name, frozenset()) for name in node.input))
            origins.update(dict.fromkeys(node.output, taken))
        if node.op_type not in INDEXED or not sizes.get(node.input[0]):
            continue
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        size = sizes[node.input[0]][settings.get("axis", 0)]
        for name in origins.get(node.input[1], frozenset()):
            if size > 0:
                limits[name] = min(size, limits.get(name, size))
    return limits


def made_up_inputs(model: onnx.ModelProto, seed: int = 0) -> tuple[NDArray[Any], ...]:
    """One sample per input, in the graph's order, at batch 1: normal values for floats, any index of its table for an
    index, any value for uint8, zeros and ones, beginning with one, for all else."""
    from onnx import helper

    limits, rng = index_limits(model), np.random.default_rng(seed)
    stored = {tensor.name for tensor in model.graph.initializer}
    arrays: list[NDArray[Any]] = []
    for info in model.graph.input:
        if info.name in stored:
            continue
        kind = info.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        shape = [dim.dim_value or 1 for dim in kind.shape.dim]
        if dtype.kind == "f":
            values: NDArray[Any] = rng.standard_normal(shape)
        elif dtype == np.uint8 and info.name not in limits:
            values = rng.integers(0, 256, shape)
        else:
            values = rng.integers(0, limits.get(info.name, 2), shape)
            if info.name not in limits:
                values.ravel()[:1] = 1  # a mask that keeps nothing makes averages of nothing
        arrays.append(np.asarray(values, dtype))
    return tuple(arrays)
