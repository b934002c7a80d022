"""One ONNX node as a converter sees it: attributes, constant inputs, static shapes, and refusals with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["Call", "NodeView", "Refused"]


class Refused(Exception):
    """This node cannot be carried over; the message says why."""


@dataclass(frozen=True)
class Call:
    """What a node became: `function` of `operands`, each a tensor's name or a constant."""

    function: Callable[..., Any]
    operands: tuple[str | NDArray[np.generic], ...]


@dataclass(frozen=True)
class NodeView:
    """A node with what is known about its graph. Shapes are static: [N, C, H, W] and the like, N included."""

    proto: onnx.NodeProto
    constants: Mapping[str, NDArray[np.generic]]
    shapes: Mapping[str, tuple[int, ...]]
    opset: int

    @property
    def op(self) -> str:
        return str(self.proto.op_type)

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's value as Python gives it; text as str."""
        import onnx

        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def has(self, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def is_constant(self, index: int) -> bool:
        return self.has(index) and self.proto.input[index] in self.constants

    def constant(self, index: int) -> NDArray[Any]:
        """The value of an input that must be known now. Raises Refused."""
        name = self.proto.input[index]
        if name not in self.constants:
            raise Refused(f"{self.op} takes {name}, which is computed while the network runs")
        return self.constants[name]

    def numbers(self, index: int) -> list[int]:
        """A constant input as a list of Python integers. Raises Refused."""
        return [int(value) for value in self.constant(index).ravel()]

    def operand(self, index: int) -> str | NDArray[np.generic]:
        """A tensor's name, or the constant itself."""
        name = str(self.proto.input[index])
        return self.constants.get(name, name)

    def operands(self, count: int | None = None) -> tuple[str | NDArray[np.generic], ...]:
        """The first `count` inputs, or all."""
        return tuple(self.operand(index) for index in range(count or len(self.proto.input)))

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Static shape of an input. Raises Refused."""
        name = self.proto.input[index]
        if name in self.constants:
            return tuple(self.constants[name].shape)
        return self._shape(name)

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """Static shape of an output. Raises Refused."""
        return self._shape(self.proto.output[index])

    def rank(self) -> int:
        return len(self.shape())

    def axis(self, value: int, rank: int | None = None) -> int:
        """A non-negative axis."""
        return value % (self.rank() if rank is None else rank)

    def one_output(self) -> None:
        """Raises Refused where a second output is used."""
        if len([name for name in self.proto.output if name]) > 1:
            raise Refused(f"{self.op} gives more than one output")

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise Refused(f"the shape of {name} is not static")
        return self.shapes[name]
