"""An ONNX graph that is rewritten node by node, with what is known of its tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.proto import opset_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = [
    "TO_FIRST",
    "TO_LAST",
    "GraphEditor",
    "attributes_of",
    "constants_of",
    "drop_unused",
    "order_of",
    "shapes_of",
]

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""How [N, C, H, W] becomes [N, H, W, C], and back."""


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Every initializer by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Static shapes of tensors by name."""
    graph, shapes = model.graph, {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        if tensor.HasField("shape") and all(size >= 0 for size in dims):
            shapes[info.name] = tuple(dims)
    return shapes


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, as Python values."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes whose results nobody reads any more."""
    while True:
        read = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
        unused = [node for node in graph.node if not any(name in read for name in node.output)]
        if not unused:
            return
        for node in unused:
            graph.node.remove(node)


def order_of(editor: GraphEditor, node: onnx.NodeProto) -> Sequence[int]:
    """In which order a Transpose takes the axes."""
    rank = len(editor.shapes[node.input[0]])
    order: Sequence[int] = attributes_of(node).get("perm", tuple(reversed(range(rank))))
    return order


class GraphEditor:
    """`shapes` and `constants` grow with what is added; `rewrite` runs over the nodes in order."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self.opset = opset_of(model)
        self.constants = constants_of(model)
        self.shapes = shapes_of(model)
        self.outputs = {port.name for port in self.graph.output}
        self._types = {
            info.name: info.type.tensor_type.elem_type
            for info in (*self.graph.input, *self.graph.value_info, *self.graph.output)
        }

    def rewrite(self, change: Callable[[onnx.NodeProto], Sequence[onnx.NodeProto]]) -> None:
        """Put what `change` gives in the place of each node."""
        kept = [made for node in list(self.graph.node) for made in change(node)]
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """Tensor → nodes that read it; being an output of the graph does not count."""
        readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                readers[name].append(node)
        return readers

    def makers(self) -> dict[str, onnx.NodeProto]:
        """Tensor → the node that computes it."""
        return {name: node for node in self.graph.node for name in node.output}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A new initializer; gives its name."""
        from onnx import numpy_helper

        while name in self.constants or name in self.shapes:
            name += "_"
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self.constants[name] = value
        return name

    def declare(self, name: str, shape: Sequence[int], like: str) -> str:
        """What a new tensor is: its shape, and the type of `like`; gives its name."""
        from onnx import helper

        self._types[name] = self._types.get(like, 1)
        self.shapes[name] = tuple(shape)
        self.graph.value_info.append(helper.make_tensor_value_info(name, self._types[name], list(shape)))
        return name

    def transpose(self, source: str, order: Sequence[int], result: str = "") -> onnx.NodeProto:
        """A node that turns `source`; its result is declared, under a name of its own unless given."""
        from onnx import helper

        shape = [self.shapes[source][axis] for axis in order]
        name = result or self._fresh(f"{source}/turned")
        if not result:
            self.declare(name, shape, source)
        return helper.make_node("Transpose", [source], [name], name=name, perm=list(order))

    def reshape(self, source: str, shape: Sequence[int], result: str = "") -> onnx.NodeProto:
        """A node that gives `source` another shape; its result is declared unless its name is given."""
        from onnx import helper

        name = result or self._fresh(f"{source}/shaped")
        if not result:
            self.declare(name, shape, source)
        sizes = self.constant(f"{name}/sizes", np.array(shape, np.int64))
        return helper.make_node("Reshape", [source, sizes], [name], name=name)

    def _fresh(self, name: str) -> str:
        while name in self.shapes or name in self.constants:
            name += "_"
        return name
