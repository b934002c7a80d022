"""What values the tensors of a graph can have at all, as far as their operations say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

__all__ = ["ANY", "Bounds", "bounds_of", "widest"]

Bounds = tuple[float, float]
"""Lowest and highest value, infinite where nothing limits them."""

ANY: Bounds = (-math.inf, math.inf)

SHARES = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
"""Operations whose results lie between 0 and 1."""

MOVES = frozenset({
    "AveragePool", "Concat", "DepthToSpace", "Dropout", "Flatten", "Gather", "GlobalAveragePool", "GlobalMaxPool",
    "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operations whose results lie where their inputs lie."""


def bounds_of(model: onnx.ModelProto) -> dict[str, Bounds]:
    """Tensor → its bounds; tensors without any are left out.

    A runtime may leave a Relu or Clip to the clipping of integers: a range beyond these bounds would undo it.
    """
    from edgekit.graph.to_torch.editing import constants_of

    constants = constants_of(model)
    bounds: dict[str, Bounds] = {}
    for node in model.graph.node:
        data = [name for name in node.input if name and name not in constants]
        known = _bounds(node, constants, [bounds.get(name, ANY) for name in data])
        if known != ANY:
            bounds.update(dict.fromkeys(node.output, known))
    return bounds


def widest(several: list[Bounds]) -> Bounds:
    """The least bounds that hold all of these."""
    return min(low for low, _ in several), max(high for _, high in several)


def _bounds(node: Any, constants: dict[str, Any], inputs: list[Bounds]) -> Bounds:
    if node.op_type == "Relu":
        return max(0.0, inputs[0][0]), max(0.0, inputs[0][1])
    if node.op_type == "Clip":
        low, high = _ends(node, constants)
        return max(low, inputs[0][0]), min(high, inputs[0][1])
    if node.op_type in SHARES:
        return 0.0, 1.0
    if node.op_type in MOVES and inputs and not any(name in constants for name in node.input[:1]):
        return widest(inputs)
    return ANY


def _ends(node: Any, constants: dict[str, Any]) -> Bounds:
    """Of a Clip: inputs since opset 11, attributes before."""
    given = {attribute.name: attribute.f for attribute in node.attribute}
    names = [*node.input[1:], "", ""]
    low = float(constants[names[0]]) if names[0] in constants else given.get("min", -math.inf)
    high = float(constants[names[1]]) if names[1] in constants else given.get("max", math.inf)
    return low, high
