"""Copies of one unit as a .tflite, written operation by operation as the converter and the quantizer would leave it.

Activations are int8 per tensor, weights int8 per channel and symmetric, biases int32 (LiteRT's 8-bit quantization
specification); weights and scales are made up. A convolution whose padding TFLite has no name for gets a PAD before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.litert.flatbuffer import pack_graph
from edgekit.errors import MissingExtraError
from edgekit.latency.handing_out import CHAINED
from edgekit.latency.litert_attention import attention_input, write_attention
from edgekit.latency.litert_functions import WRITERS
from edgekit.latency.unit import Unit

__all__ = ["FlatbufferLayers", "write_tflite"]

VERSION = 3
SCALE = 1 / 64
SAME, VALID = 0, 1
FUSED = {"": 0, "Relu": 1, "Clip": 3}
"""ONNX's activation → ActivationFunctionType of the schema; Clip is taken as ReLU6."""


def write_tflite(unit: Unit, copies: int, path: Path) -> None:
    """`copies` of the unit side by side on one input, each with an output of its own; those that keep a tensor's shape,
    and compute with it, one behind the other.

    Raises StageError for what TFLite has no operations for.
    """
    try:
        writer = FlatbufferLayers(unit)
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-litert", "tflite") from error
    if unit.family.kind in CHAINED:
        last = writer.begun
        for _ in range(copies):
            last = writer.layer(last)
        writer.outputs.append(last)
    else:
        writer.outputs += [writer.layer(writer.begun) for _ in range(copies)]
    path.write_bytes(writer.content())


class FlatbufferLayers:
    """Collects tensors, buffers and operators; tensors are told by their place."""

    def __init__(self, unit: Unit) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.unit, self.family = unit, unit.family
        self.quantized = self.family.precision == "int8"
        self.rng = np.random.default_rng(0)
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.codes: list[int] = []
        self.operators: list[Any] = []
        self.outputs: list[int] = []
        self.others: list[int] = []
        self.begun = self.begin()

    def begin(self) -> int:
        """The tensor that layers start from."""
        shape = self.shape(self.unit.channels_in, self.family.size)
        return self.in_integers(shape) if self.family.rounded else self.activation(shape)

    def shape(self, channels: int, size: tuple[int, int]) -> tuple[int, ...]:
        """Images have their channels last; sequences are [1, tokens, channels], heads [1, heads, tokens, channels]."""
        family = self.family
        if family.shape:
            return tuple(width or channels for width in family.shape)
        if family.kind == "product":
            return 1, family.groups, size[0], channels // family.groups
        if family.attention is not None:
            return attention_input(self.unit)
        if family.kind == "average" or family.is_image:
            return (1, *size, channels) if family.is_image else (1, size[0], channels)
        return (1, channels) if size == (1, 1) else (1, size[0], channels)

    def other(self, shape: tuple[int, ...], place: int = 0) -> int:
        """A further input of the network, which all copies share. Its zero point is 0: `with_symmetric_factors`."""
        if place == len(self.others):
            self.others.append(self.activation(shape))
        return self.others[place]

    def product_scale(self, terms: int) -> float:
        """Of sums of so many products of two activations."""
        return SCALE * float(np.sqrt(terms))

    def tensor(
        self,
        shape: tuple[int, ...],
        kind: int,
        buffer: int = 0,
        scale: Any = None,
        axis: int = 0,
        zero: int = 0,
    ) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.type = f"tensor{len(self.tensors)}".encode(), list(shape), kind
        made.buffer = buffer
        if scale is not None:
            made.quantization = self.schema.QuantizationParametersT()
            made.quantization.scale = [float(value) for value in np.atleast_1d(scale)]
            made.quantization.zeroPoint = [int(zero)] * len(made.quantization.scale)
            made.quantization.quantizedDimension = axis
        self.tensors.append(made)
        return len(self.tensors) - 1

    def activation(self, shape: tuple[int, ...], scale: float = SCALE, zero: float = 0) -> int:
        return self.in_integers(shape, scale, zero) if self.quantized else self.in_float(shape)

    def in_float(self, shape: tuple[int, ...]) -> int:
        return self.tensor(shape, self.schema.TensorType.FLOAT32)

    def in_integers(self, shape: tuple[int, ...], scale: float = SCALE, zero: float = 0) -> int:
        return self.tensor(shape, self.schema.TensorType.INT8, scale=scale, zero=int(zero))

    def stored(self, values: NDArray[Any], scale: Any = None, axis: int = 0, zero: int = 0) -> int:
        types = self.schema.TensorType
        kinds = {"float32": types.FLOAT32, "int8": types.INT8, "int32": types.INT32}
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.buffers.append(buffer)
        return self.tensor(values.shape, kinds[values.dtype.name], len(self.buffers) - 1, scale, axis, zero)

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[int, int]:
        """Stored weights, per channel along `axis`, and their biases."""
        channels = shape[axis]
        if not self.quantized:
            weight = self.rng.normal(0, 0.1, shape).astype(np.float32)
            return self.stored(weight), self.stored(self.rng.normal(0, 0.1, channels).astype(np.float32))
        scale = self.rng.uniform(0.001, 0.002, channels)
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        return self.stored(values, scale, axis), self.stored(bias, scale * SCALE)

    def run(
        self, kind: str, inputs: list[int], output: int, options: Any = None, option_kind: str = ""
    ) -> int:
        """One operation; `option_kind` is the schema's name of its options."""
        number = getattr(self.schema.BuiltinOperator, kind)
        if number not in self.codes:
            self.codes.append(number)
        made = self.schema.OperatorT()
        made.opcodeIndex = self.codes.index(number)
        made.inputs, made.outputs = inputs, [output]
        if options is not None:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, option_kind)
            made.builtinOptions = options
        self.operators.append(made)
        return output

    def layer(self, tensor: int) -> int:
        """One copy; gives the tensor that it makes: of one in float between integers, in these."""
        write = write_attention if self.family.kind == "attention" else WRITERS.get(self.family.kind)
        tensor = self.crossed(tensor, "DEQUANTIZE") if self.family.rounded else tensor
        result: int = write(self, tensor) if write else getattr(self, f"_{self.family.kind}")(tensor)
        return self.crossed(result, "QUANTIZE") if self.family.rounded else result

    def crossed(self, tensor: int, kind: Literal["QUANTIZE", "DEQUANTIZE"]) -> int:
        """The tensor in integers, or in float."""
        shape, options = tuple(self.tensors[tensor].shape), f"{kind.capitalize()}Options"
        made = self.in_integers(shape) if kind == "QUANTIZE" else self.in_float(shape)
        return self.run(kind, [tensor], made, getattr(self.schema, f"{options}T")(), options)

    def result(self) -> int:
        return self.activation(self.shape(self.unit.channels_out, self.family.size_out))

    def padded(self, tensor: int) -> tuple[int, int]:
        """The tensor, behind a PAD where its padding has no name, and the padding's name."""
        if not any(self.family.padding):
            return tensor, VALID
        if self.named_same():
            return tensor, SAME
        top, left, bottom, right = self.family.padding
        height, width = self.family.size
        ends = self.stored(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
        wide = self.activation(
            self.shape(self.unit.channels_in, (height + top + bottom, width + left + right))
        )
        return self.run("PAD", [tensor, ends], wide, self.schema.PadOptionsT(), "PadOptions"), VALID

    def named_same(self) -> bool:
        """Whether the padding is what TFLite's SAME makes of these sizes: the odd one at the end."""
        top, left, bottom, right = self.family.padding
        for size, kernel, stride, before, after in (
            (self.family.size[0], self.family.kernel[0], self.family.stride[0], top, bottom),
            (self.family.size[1], self.family.kernel[1], self.family.stride[1], left, right),
        ):
            whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            if (before, after) != (whole // 2, whole - whole // 2):
                return False
        return True

    def strided(self, options: Any, padding: int) -> Any:
        options.padding = padding
        options.strideH, options.strideW = self.family.stride
        options.fusedActivationFunction = FUSED[self.family.activation]
        return options

    def _conv(self, tensor: int) -> int:
        unit = self.unit
        if unit.channels_in == 1:  # the converter's own choice
            return self._depthwise(tensor)
        weight, bias = self.weights(
            (unit.channels_out, *self.family.kernel, unit.channels_in // self.family.groups), 0
        )
        tensor, padding = self.padded(tensor)
        options = self.strided(self.schema.Conv2DOptionsT(), padding)
        options.dilationHFactor = options.dilationWFactor = 1
        return self.run("CONV_2D", [tensor, weight, bias], self.result(), options, "Conv2DOptions")

    def _depthwise(self, tensor: int) -> int:
        weight, bias = self.weights((1, *self.family.kernel, self.unit.channels_out), 3)
        tensor, padding = self.padded(tensor)
        options = self.strided(self.schema.DepthwiseConv2DOptionsT(), padding)
        options.depthMultiplier = self.unit.channels_out // self.unit.channels_in
        options.dilationHFactor = options.dilationWFactor = 1
        inputs = [tensor, weight, bias]
        return self.run("DEPTHWISE_CONV_2D", inputs, self.result(), options, "DepthwiseConv2DOptions")

    def _linear(self, tensor: int) -> int:
        weight, bias = self.weights((self.unit.channels_out, self.unit.channels_in), 0)
        options = self.schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = FUSED[self.family.activation]
        options.keepNumDims = self.family.size != (1, 1)
        inputs = [tensor, weight, bias]
        return self.run("FULLY_CONNECTED", inputs, self.result(), options, "FullyConnectedOptions")

    def _add(self, tensor: int) -> int:
        options = self.schema.AddOptionsT()
        options.fusedActivationFunction = FUSED[self.family.activation]
        return self.run("ADD", [tensor, self.begun], self.result(), options, "AddOptions")

    def _maxpool(self, tensor: int) -> int:
        tensor, padding = self.padded(tensor)
        options = self.strided(self.schema.Pool2DOptionsT(), padding)
        options.filterHeight, options.filterWidth = self.family.kernel
        return self.run("MAX_POOL_2D", [tensor], self.result(), options, "Pool2DOptions")

    def _average(self, tensor: int) -> int:
        axes = self.stored(np.array([1, 2] if self.family.is_image else [1], np.int32))
        options = self.schema.ReducerOptionsT()
        options.keepDims = self.family.is_image
        made = self.result() if self.family.is_image else self.activation((1, self.unit.channels_out))
        return self.run("MEAN", [tensor, axes], made, options, "ReducerOptions")

    def content(self) -> bytes:
        codes = []
        for number in self.codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            codes.append(code)
        return pack_graph(
            VERSION,
            codes,
            self.tensors,
            self.buffers,
            self.operators,
            [self.begun, *self.others],
            self.outputs,
        )
