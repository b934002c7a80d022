"""Shapes and attributes of an ONNX graph, as reading its units needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx

__all__ = ["Shapes"]


class Shapes:
    """Of every tensor; `weights` are the names of stored ones. Raises ModelError where an input has an open size."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.weights = {tensor.name for tensor in graph.initializer}
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._shapes = {tensor.name: tuple(map(int, tensor.dims)) for tensor in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
            if value.name not in self._shapes:
                self._shapes[value.name] = dims
        for value in graph.input:
            if value.name not in self.weights and 0 in self._shapes[value.name]:
                raise ModelError(
                    f"input {value.name!r} has open sizes {list(self._shapes[value.name])}",
                    remedy="give them, as --input-shape 1x3x224x224",
                )

    def of(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, () where it is not known."""
        shape = self._shapes.get(name, ())
        return () if 0 in shape else shape

    def size_and_channels(self, name: str) -> tuple[tuple[int, int], int]:
        """Of an image [1, C, H, W]: (H, W), C; of anything else: (what is before the last axis, 1), the last axis."""
        shape = self.of(name)
        if len(shape) == 4 and shape[0] == 1:
            return (shape[2], shape[3]), shape[1]
        before = 1
        for size in shape[:-1]:
            before *= size
        return (before, 1), shape[-1] if shape else 0

    def stored(self, name: str) -> list[Any] | None:
        """The values of a stored tensor, None for a computed one."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self._stored[name]).ravel().tolist() if name in self._stored else None

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        """A node's attribute."""
        from onnx import helper

        given = next((entry for entry in node.attribute if entry.name == name), None)
        return default if given is None else helper.get_attribute_value(given)
