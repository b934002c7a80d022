"""Copies of one unit as an ONNX network, for runtimes that load ONNX: float, or with Q/DQ around each layer.

The Q/DQ stand as edgekit's exporter for ONNX Runtime writes them: activations per tensor, weights per channel and
symmetric, biases as int32. Weights and scales are made up; time does not hang on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.proto import write_model
from edgekit.latency.attention_layers import write_attention
from edgekit.latency.handing_out import CHAINED, MOVING, POOLS, handed_out, is_large, is_thin
from edgekit.latency.onnx_functions import CLIP_HIGH, WRITERS, activated
from edgekit.latency.unit import Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["UNSIGNED", "Integers", "OnnxLayers", "write_onnx"]

OPSET = 17
POSITIVE = ("Relu", "Clip")
SCALE = np.float32(1 / 64)
TAKEN_SCALE = np.float32(1 / 80)
"""Of a place that is taken of an axis and rounded anew, as ranges of single ones are observed."""

WEIGHT_SCALE = np.float32(1 / 512)
THINNINGS = {"layer1": (1, 2), "layer2": (2, 1), "layer3": (3, 2), "layer4": (2, 3)}
"""Kernels of further poolings that thin the same tensor, beside the first of 2 by 2."""


@dataclass(frozen=True)
class Integers:
    """Types of activations and of weights, as the target wants them of ONNX Runtime; by numpy's names."""

    activation: str
    weight: str

    def zero(self, positive: bool) -> Any:
        """The zero point of a tensor of values of both signs, or of positive ones: their least integer.

        Only behind that does ONNX Runtime run a layer and its activation as one.
        """
        middle, least = (0, -128) if self.activation == "int8" else (128, 0)
        return np.dtype(self.activation).type(least if positive else middle)


UNSIGNED = Integers("uint8", "int8")


def write_onnx(
    unit: Unit, copies: int, path: Path, integers: Integers, *, rounds_results: bool = True
) -> None:
    """`copies` of the unit: side by side on one input where it changes shape, else one behind the other.

    `rounds_results`: see `Fusing`. Side by side, each gives an output of its own, thinned by a pooling where it is
    large; with a residual each adds the result of the one before; poolings stand on a chain of additions. See
    `subtracted`.
    """
    writer = OnnxLayers(unit, integers, rounds_results=rounds_results)
    family = unit.family
    last = writer.residual_input() if family.residual else writer.begun
    if is_thin(family):
        writer.begun = writer.convolved()
    for index in range(copies):
        if family.kind in CHAINED:
            last = writer.layer(index, last)
        elif family.residual:
            last = writer.layer(index, writer.begun, last)
        elif family.kind in POOLS and not is_thin(family):
            last = writer.summed(index, last)
            writer.output(writer.layer(index, last))
        else:
            writer.output(writer.layer(index, writer.begun))
    if family.residual or family.kind in CHAINED:
        writer.output(last)
    write_model(writer.model(), path)


class OnnxLayers:
    """Collects nodes and constants. Tensors between layers are the float side of a Q/DQ pair."""

    def __init__(self, unit: Unit, integers: Integers, *, rounds_results: bool = True) -> None:
        self.unit, self.family = unit, unit.family
        self.integers, self.rounds_results = integers, rounds_results
        self.quantized = self.family.precision == "int8" or self.family.rounded
        self.rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[tuple[str, tuple[int, ...], str]] = []
        self.outputs: list[str] = []
        self.in_integers: set[str] = set()
        self.is_image = self.family.is_image
        if self.quantized:
            self.constant("scale", np.array(SCALE))
            self.constant("zero", np.array(self.integers.zero(False)))
            self.constant("taken.scale", np.array(TAKEN_SCALE))
            self.constant("positive.scale", np.array(CLIP_HIGH / 255))
            self.constant("positive.zero", np.array(self.integers.zero(True)))
        self.begun = self.begin()

    def begin(self) -> str:
        """The tensor that layers start from; "" where each has its own."""
        if self.family.kind == "attention":
            return ""
        return self.given("input", self.shape(self.unit.channels_in, self.family.size))

    def shape(self, channels: int, size: tuple[int, int]) -> tuple[int, ...]:
        if self.family.shape:
            return tuple(width or channels for width in self.family.shape)
        if self.is_image:
            return 1, channels, *size
        if self.family.kind == "product":
            return 1, self.family.groups, size[0], channels // self.family.groups
        if self.family.kind == "linear":  # as edgekit's export leaves it: a Gemm, whose tokens are rows
            return size[0], channels
        return (1, channels) if size == (1, 1) else (1, size[0], channels)

    def given(self, name: str, shape: tuple[int, ...]) -> str:
        """A further input of the network, quantized where layers are."""
        self.inputs.append((name, shape, "float32"))
        return self.requantized(name) if self.quantized else name

    def handed(self, name: str, shape: tuple[int, ...]) -> str:
        """A further input as a layer before would hand it on: in integers where the runtime has it so."""
        if self.rounds_results or not self.quantized:
            return self.given_integers(name, shape)
        self.inputs.append((name, shape, "float32"))
        return name

    def given_integers(self, name: str, shape: tuple[int, ...]) -> str:
        """A further input of a copy as the layer before it leaves it: in integers where layers are, so that nothing is
        rounded for it."""
        if not self.quantized:
            return self.given(name, shape)
        self.inputs.append((name, shape, self.integers.activation))
        return self.node("DequantizeLinear", [name, "scale", "zero"], f"{name}.dq")

    def residual_input(self) -> str:
        return self.given("residual", self.shape(self.unit.channels_out, self.family.size_out))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes_of(kind, inputs, [output], **attributes)
        return output

    def nodes_of(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """A node with several results."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def requantized(self, tensor: str, *, positive: bool = False) -> str:
        grid = ["positive.scale", "positive.zero"] if positive else ["scale", "zero"]
        if self.family.kind == "slice" and self.family.rounded:
            grid = ["taken.scale", "zero"]
        self.node("QuantizeLinear", [tensor, *grid], f"{tensor}.q")
        return self.node("DequantizeLinear", [f"{tensor}.q", *grid], f"{tensor}.dq")

    def weight(self, name: str, shape: tuple[int, ...], axis: int) -> str:
        """A stored weight; of integers with a scale per output channel, along `axis`."""
        if not self.quantized:
            return self.constant(name, self.rng.normal(0, 0.1, shape).astype(np.float32))
        channels = shape[axis]
        values = self.rng.integers(-127, 128, shape).astype(self.integers.weight)
        self.constant(f"{name}.q", values)
        scale = self.constant(f"{name}.scale", np.full(channels, WEIGHT_SCALE))
        zero = self.constant(f"{name}.zero", np.zeros(channels, self.integers.weight))
        return self.node("DequantizeLinear", [f"{name}.q", scale, zero], name, axis=axis)

    def vector(self, name: str, channels: int) -> str:
        """A stored value of each channel, in float."""
        return self.constant(name, self.rng.normal(0, 0.1, channels).astype(np.float32))

    def bias(self, name: str, channels: int) -> str:
        if not self.quantized:
            return self.vector(name, channels)
        values = self.rng.normal(0, 0.1, channels)
        self.constant(f"{name}.q", np.rint(values * 1e4).astype(np.int32))
        scale = self.constant(f"{name}.scale", np.full(channels, SCALE * WEIGHT_SCALE))
        zero = self.constant(f"{name}.zero", np.zeros(channels, np.int32))
        return self.node("DequantizeLinear", [f"{name}.q", scale, zero], name, axis=0)

    def layer(self, index: int, tensor: str, added: str = "") -> str:
        """One copy; gives the tensor that it makes."""
        name = f"layer{index}"
        write = WRITERS.get(self.family.kind)
        made = write(self, name, tensor) if write else getattr(self, f"_{self.family.kind}")(name, tensor)
        if added:
            made = self.node("Add", [made, added], f"{name}.sum")
        if self.family.kind != "pointwise":
            made = activated(self, name, made, self.family.activation)
        positive = self.family.activation in POSITIVE
        return self.requantized(made, positive=positive) if self.quantized else str(made)

    def convolved(self) -> str:
        """What a convolution makes: a runtime has it in a layout of its own, in which what is handed out is thinned."""
        channels = self.unit.channels_in
        weight = self.weight("begun.weight", (channels, 1, 3, 3), 0)
        inputs = [self.begun, weight, self.bias("begun.bias", channels)]
        made = self.node("Conv", inputs, "begun", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=channels)
        return self.requantized(made) if self.quantized else made

    def summed(self, index: int, tensor: str) -> str:
        """A tensor of its own, for nodes that would be the same on one."""
        made = self.node("Add", [tensor, self.begun], f"sum{index}")
        return self.requantized(made) if self.quantized else made

    def _conv(self, name: str, tensor: str) -> str:
        family, unit = self.family, self.unit
        groups = unit.channels_in if family.kind == "depthwise" else family.groups
        weight = self.weight(
            f"{name}.weight", (unit.channels_out, unit.channels_in // groups, *family.kernel), 0
        )
        settings = {
            "kernel_shape": family.kernel,
            "strides": family.stride,
            "pads": family.padding,
            "group": groups,
        }
        return self.node(
            "Conv", [tensor, weight, self.bias(f"{name}.bias", unit.channels_out)], f"{name}.out", **settings
        )

    _depthwise = _conv

    def _linear(self, name: str, tensor: str) -> str:
        unit = self.unit
        bias = self.bias(f"{name}.bias", unit.channels_out)
        weight = self.weight(f"{name}.weight", (unit.channels_out, unit.channels_in), 0)
        return self.node("Gemm", [tensor, weight, bias], f"{name}.out", transB=1)

    def _product(self, name: str, tensor: str) -> str:
        heads = self.family.groups
        shape = 1, heads, self.unit.channels_in // heads, self.unit.channels_out // heads
        other = self.given_integers(f"{name}.other", shape)
        return self.node("MatMul", [tensor, other], f"{name}.out")

    def _attention(self, name: str, tensor: str) -> str:
        return write_attention(self, name)

    def _add(self, name: str, tensor: str) -> str:
        return self.node("Add", [tensor, self.begun], f"{name}.out")

    def _maxpool(self, name: str, tensor: str) -> str:
        family = self.family
        kernel = list(family.kernel)
        if is_thin(family) and name != "layer0":  # runtimes compute equal ones once
            kernel = [min(size, THINNINGS[name][axis]) for axis, size in enumerate(family.size)]
        return self.node(
            "MaxPool",
            [tensor],
            f"{name}.out",
            kernel_shape=kernel,
            strides=family.stride,
            pads=family.padding,
        )

    def _average(self, name: str, tensor: str) -> str:
        if not self.is_image:
            return self.node("ReduceMean", [tensor], f"{name}.out", axes=[1], keepdims=0)
        return self.node("GlobalAveragePool", [tensor], f"{name}.out")

    def output(self, tensor: str) -> None:
        """Hand a tensor out; of a large one only a few values, by a node that runtimes have for their own layouts."""
        name = f"output{len(self.outputs)}"
        if self.family.kind in MOVING and self.quantized:
            tensor = f"{tensor.removesuffix('.dq')}.q"
            self.nodes.pop()  # nothing reads it in float
            self.in_integers.add(tensor)
        if self.family.kind in MOVING or not is_large(*handed_out(self.unit)):
            self.outputs.append(tensor)
            return
        if self.is_image:
            height, width = self.family.size_out
            thin = [min(2, height), min(2, width)]
            made = self.node("MaxPool", [tensor], f"{name}.thin", kernel_shape=thin, strides=[height, width])
        else:
            axis = {"linear": 0, "product": 2}.get(self.family.kind, 1)
            ends = [
                self.constant(f"{name}.{key}", np.array([value], np.int64))
                for key, value in (("from", 0), ("to", 1), ("axis", axis))
            ]
            made = self.node("Slice", [tensor, *ends], f"{name}.thin")
        positive = self.family.activation in POSITIVE
        self.outputs.append(self.requantized(made, positive=positive) if self.quantized else made)

    def model(self) -> Any:
        from onnx import helper, shape_inference

        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
            for name, shape, kind in self.inputs
        ]
        outputs = [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(
                    np.dtype(self.integers.activation if name in self.in_integers else "float32")
                ),
                None,
            )
            for name in self.outputs
        ]
        graph = helper.make_graph(self.nodes, "layers", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        return shape_inference.infer_shapes(model)
