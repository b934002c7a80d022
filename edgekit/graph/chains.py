"""Whether XNNPACK runs a network by its sparse kernels: a chain of layers that it can turn to channels-first.

The conditions are those of xnn_subgraph_rewrite_for_nchw (XNNPACK, src/subgraph.c): from each mean over the image back
to convolutions that read one, every layer has to be of the kinds below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.graph.wiring import Wiring

__all__ = ["why_no_sparse_chain"]

MEANS = frozenset({"GlobalAveragePool", "ReduceMean"})
POINTWISE = frozenset({
    "Abs", "Add", "Ceil", "Clip", "Elu", "Floor", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "Neg", "Relu",
    "Sigmoid", "Sqrt", "Tanh",
})  # fmt: skip
CHANNELS = 3
"""Of the images that the first convolution reads."""


def why_no_sparse_chain(path: Path) -> str:
    """Why the sparse kernels cannot run the network at `path` (.onnx), with the layer's name; "" where they can."""
    import onnx

    wiring = Wiring(onnx.load(str(path)))
    means = [node for node in wiring.nodes if node.op_type in MEANS]
    reason = "there is no mean over the image, with which such a chain ends"
    for mean in reversed(means):
        reason = _why_not_behind(wiring, mean)
        if not reason:
            return ""
    return reason


def _why_not_behind(wiring: Wiring, mean: Any) -> str:
    """Of what the mean reads, all the way back to the image."""
    seen: dict[str, Any] = {}
    queue = [mean.input[0]]
    has_sparse = False
    while queue:
        name = queue.pop()
        if name in seen or wiring.is_constant(name):
            continue
        node = seen[name] = wiring.producer.get(name)
        if node is None:
            return f"it does not begin with a 3x3 convolution of stride 2 on {CHANNELS} channels"
        kind = (
            "weighted" if node.op_type == "Conv" else "pointwise" if node.op_type in POINTWISE | MEANS else ""
        )
        if not kind:
            return f"{node.name} ({node.op_type}) is none of the layers that it takes"
        if kind == "pointwise":
            queue += node.input
            continue
        role = _role(wiring, node)
        if not role:
            return (
                f"{node.name} is neither a 1x1 convolution nor a padded 3x3 or 5x5 depthwise one, nor one of 3x3 with "
                f"stride 2 on {CHANNELS} channels"
            )
        has_sparse = has_sparse or role == "sparse"
        queue += node.input[:1] if role != "first" else []
    inside = {id(node) for node in (mean, *seen.values())}
    for name in seen:
        outside = next((node for node in wiring.readers[name] if id(node) not in inside), None)
        if outside is not None:
            return f"{outside.name} ({outside.op_type}) reads it from without"
    return "" if has_sparse else "there is no 1x1 convolution in it"


def _role(wiring: Wiring, node: Any) -> str:
    """Of a convolution: `sparse`, `depthwise`, `first`; "" for what is none of them."""
    shape = list(wiring.array(node.input[1]).shape) if wiring.is_constant(node.input[1]) else []
    settings = {attribute.name: attribute for attribute in node.attribute}

    def numbers(name: str, default: int, count: int) -> list[int]:
        return list(settings[name].ints) if name in settings else [default] * count

    if len(shape) != 4 or numbers("dilations", 1, 2) != [1, 1]:
        return ""
    group = settings["group"].i if "group" in settings else 1
    kernel, strides, pads = shape[2:], numbers("strides", 1, 2), numbers("pads", 0, 4)
    if group == 1 and kernel == [1, 1] and strides == [1, 1] and pads == [0] * 4:
        return "sparse"
    if group == 1 and kernel == [3, 3] and strides == [2, 2] and pads == [1] * 4 and shape[1] == CHANNELS:
        return "first"
    is_depthwise = group == shape[0] and shape[1] == 1
    padded = (kernel, pads) in (([3, 3], [1] * 4), ([5, 5], [2] * 4))
    return "depthwise" if is_depthwise and padded and strides in ([1, 1], [2, 2]) else ""
