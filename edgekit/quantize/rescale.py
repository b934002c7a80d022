"""Moves scale between layers so that the channels of a quantized tensor span alike; the network's function stays.

A tensor has one scale for all of its channels, so a small one beside a large one is left with few integers. A channel
divided by a factor where it is made, and multiplied by it in the weights that read it, is the same network:
- cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1) between layers with only positively
  homogeneous functions between them. The factors come from activations, not from the weights that make them, as in
  Meller et al. 2019, "Same, Same But Different" (arXiv:1902.01917): weights that make a channel have a scale each.
- SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) behind a layer normalization, whose scale and shift take the factors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import StageError
from edgekit.graph.equivalence import difference, onnx_runner
from edgekit.graph.layers import Layer, weighted_layers
from edgekit.graph.taps import open_taps
from edgekit.graph.wiring import Wiring

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.graph.calibration import CalibrationData

__all__ = ["SUFFIX", "Rescaled", "rescaled"]

HOMOGENEOUS = frozenset({"Identity", "LeakyRelu", "Relu"})
"""f(a x) = a f(x) for every a > 0, number by number."""

POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})
"""The same, channel by channel, where channels are axis 1."""

LARGEST_FACTOR = 1024.0
"""Factors lie within this of the geometric mean: a channel that calibration hardly moved may move on other data."""

SAME_FUNCTION = 1e-3
"""How far the rewritten network may be from the old one, as a share of its outputs' largest value."""

PROVED_ON = 8  # samples

SUFFIX = "/rescaled"
"""Of tensors that hold other values than the network's own: nothing may compare the two by name."""


@dataclass(frozen=True)
class Seam:
    """A tensor whose channels can be scaled: made by `source`, it reaches `readers` through `passing` nodes alone.

    `tensor` is what the readers read, `tensors` all that are scaled. `constants`: initializer → axis of its channels,
    of all that make the tensor.
    """

    source: str
    is_norm: bool
    tensor: str
    tensors: tuple[str, ...]
    constants: Mapping[str, int]
    readers: tuple[Layer, ...]


@dataclass(frozen=True)
class Rescaled:
    """The network that computes the same, and how many tensors behind layers and normalizations have other channels."""

    model: onnx.ModelProto
    equalized: int
    smoothed: int
    left: Mapping[str, str]


def rescaled(
    model: onnx.ModelProto,
    data: CalibrationData,
    *,
    equalize: bool,
    smooth: float,
    per_channel: bool,
    samples: int = 256,
    threads: int = 1,
) -> Rescaled:
    """A copy with scale moved at every seam: behind layers (`equalize`) and behind normalizations (`smooth` > 0).

    `smooth`: the share of a channel's width that moves into the weights, SmoothQuant's alpha. Raises StageError where
    the copy does not compute the same on the first samples.
    """
    import onnx

    open_seams, left = seams(model)
    chosen = [seam for seam in open_seams if (smooth > 0 if seam.is_norm else equalize)]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    largest = _largest(model, chosen, data, samples, threads)
    constants = _Constants(copy)
    for seam in chosen:
        share = smooth if seam.is_norm else 1.0 if per_channel and _depthwise(seam, constants) else 0.5
        wide = largest[seam.tensor]
        reading = np.max([constants.read_by(reader, len(wide)) for reader in seam.readers], axis=0)
        factors = _factors(wide, reading, share)
        for name, axis in seam.constants.items():
            constants.multiply(name, axis, 1.0 / factors)
        for reader in seam.readers:
            constants.multiply_inputs(reader, factors)
    constants.write()
    _rename(copy, {name for seam in chosen for name in seam.tensors})
    _prove(model, copy, data)
    norms = sum(seam.is_norm for seam in chosen)
    return Rescaled(copy, len(chosen) - norms, norms, left)


def seams(model: onnx.ModelProto) -> tuple[tuple[Seam, ...], Mapping[str, str]]:
    """Every seam of a network with named nodes and inferred shapes, and for each other source why there is none."""
    graph, layers = Wiring(model), {layer.name: layer for layer in weighted_layers(model)}
    sizes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    seams, left = [], {}
    for node in model.graph.node:
        made = _made_by(node, layers.get(node.name), graph)
        if made is None:
            continue
        constants, tensor = made
        try:
            tensors, readers = _followed(graph, layers, tensor, node.op_type == "Conv", sizes)
            _check_private(graph, constants, readers)
        except _ClosedError as reason:
            left[node.name] = str(reason)
            continue
        is_norm = node.op_type == "LayerNormalization"
        seams.append(Seam(node.name, is_norm, tensors[-1], tensors, constants, readers))
    return tuple(seams), left


class _ClosedError(Exception):
    """Why a tensor's channels cannot be scaled."""


def _made_by(node: Any, layer: Layer | None, graph: Wiring) -> tuple[dict[str, int], str] | None:
    """The constants that make the node's channels, with their axis, and its tensor; None for other nodes."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "LayerNormalization":
        names = list(node.input)[1:3]
        last = "axis" not in attributes or attributes["axis"].i in (-1,)
        fits = last and all(graph.is_constant(name) and graph.array(name).ndim == 1 for name in names)
        return (dict.fromkeys(names, 0), node.output[0]) if fits else None
    if layer is None or layer.op not in ("Conv", "Gemm", "MatMul"):
        return None
    if layer.op == "Gemm" and any(
        name in attributes and attributes[name].f != 1.0 for name in ("alpha", "beta")
    ):
        return None
    constants = {layer.weight: layer.channel_axis}
    tensor = layer.output
    bias = layer.bias
    if layer.op == "MatMul":
        if graph.array(layer.weight).ndim != 2:
            return None
        after = graph.readers[tensor]
        if len(after) == 1 and after[0].op_type == "Add" and tensor not in graph.outputs:
            bias = next((name for name in after[0].input if graph.is_constant(name)), "")
            if not bias:
                return None
            tensor = after[0].output[0]
    if bias:
        if (
            not graph.is_constant(bias)
            or graph.array(bias).size != graph.array(layer.weight).shape[layer.channel_axis]
        ):
            return None
        constants[bias] = graph.array(bias).ndim - 1
    return constants, tensor


def _followed(
    graph: Wiring, layers: Mapping[str, Layer], tensor: str, images: bool, sizes: Mapping[str, list[int]]
) -> tuple[tuple[str, ...], tuple[Layer, ...]]:
    """The tensors from a source to the layers that read it, and these. `images`: channels are axis 1, else the last.

    Raises _ClosedError.
    """
    tensors = [tensor]
    while True:
        after = graph.readers[tensor]
        if tensor in graph.outputs or not after:
            raise _ClosedError("it is an output of the network")
        step = after[0] if len(after) == 1 else None
        if step is None or step.name in layers:
            break
        flattened = images and step.op_type == "Flatten" and _flat(sizes.get(tensor, []))
        pooled = images and step.op_type in POOLS and len(step.output) == 1
        if step.op_type not in HOMOGENEOUS and not pooled and not flattened:
            raise _ClosedError(f"{step.op_type} {step.name} does not let a factor of a channel through")
        images = images and not flattened
        tensor = step.output[0]
        tensors.append(tensor)
    readers = []
    for node in after:
        layer = layers.get(node.name)
        fits = layer is not None and layer.op in (("Conv",) if images else ("Gemm", "MatMul"))
        if layer is None or not fits or layer.input != tensor or list(node.input).count(tensor) != 1:
            raise _ClosedError(f"{node.op_type} {node.name} reads it too")
        if layer.op == "MatMul" and graph.array(layer.weight).ndim != 2:
            raise _ClosedError(f"{node.name} has a stack of weights")
        if any(attribute.name == "transA" and attribute.i for attribute in node.attribute):
            raise _ClosedError(f"{node.name} reads it transposed")
        readers.append(layer)
    return tuple(tensors), tuple(readers)


def _flat(sizes: list[int]) -> bool:
    """Whether a Flatten of this shape keeps the channels' axis: [N, C, 1, ...]."""
    return len(sizes) > 2 and all(size == 1 for size in sizes[2:])


def _check_private(graph: Wiring, constants: Mapping[str, int], readers: tuple[Layer, ...]) -> None:
    """Raises _ClosedError for a constant that other nodes read too."""
    for name in (*constants, *(layer.weight for layer in readers)):
        if len(graph.readers[name]) != 1:
            raise _ClosedError(f"{name} is shared")


def _depthwise(seam: Seam, constants: _Constants) -> bool:
    """Whether each channel is read by weights of its own alone, which have a scale each."""
    return all(reader.op == "Conv" and constants[reader.weight].shape[1] == 1 for reader in seam.readers)


class _Constants:
    """The initializers of a model as arrays, written back at once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._arrays: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self._tensors[name])
        return self._arrays[name]

    def multiply(self, name: str, axis: int, factors: NDArray[np.float64]) -> None:
        """Each channel along `axis` by its factor."""
        array = self[name]
        form = [1] * array.ndim
        form[axis] = -1
        self._arrays[name] = np.asarray(array * factors.reshape(form), array.dtype)

    def multiply_inputs(self, reader: Layer, factors: NDArray[np.float64]) -> None:
        """The weights of a layer, by the channel of its input that each of them reads."""
        weight = self[reader.weight]
        if reader.op != "Conv":
            self.multiply(reader.weight, 1 - reader.channel_axis, factors)
            return
        grouped = _by_group(weight, len(factors)) * factors.reshape(-1, 1, weight.shape[1], 1)
        self._arrays[reader.weight] = np.asarray(grouped.reshape(weight.shape), weight.dtype)

    def read_by(self, reader: Layer, channels: int) -> NDArray[np.float64]:
        """The largest weight that reads each channel of the layer's input."""
        weight = np.abs(self[reader.weight]).astype(np.float64)
        if reader.op != "Conv":
            return np.asarray(weight.max(axis=reader.channel_axis))
        return np.asarray(_by_group(weight, channels).max(axis=(1, 3)).reshape(-1))

    def write(self) -> None:
        """What was changed, into the model."""
        from onnx import numpy_helper

        for name, array in self._arrays.items():
            self._tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def _by_group(weight: NDArray[Any], channels: int) -> NDArray[Any]:
    """Weights of a convolution of that many input channels as [groups, outputs, inputs of a group, kernel]."""
    groups = channels // weight.shape[1]
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def _factors(wide: NDArray[np.float64], reading: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """By what each channel is divided, [channels]: wide^share / reading^(1 - share), 1 at their geometric mean.

    1 too for a channel that is always zero, or that nothing reads.
    """
    used = (wide > 0) & (reading > 0)
    if not used.any():
        return np.ones_like(wide)
    logs = share * np.log(wide[used]) - (1.0 - share) * np.log(reading[used])
    factors = np.ones_like(wide)
    factors[used] = np.clip(np.exp(logs - logs.mean()), 1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    return factors


def _largest(
    model: onnx.ModelProto, open_seams: list[Seam], data: CalibrationData, samples: int, threads: int
) -> dict[str, NDArray[np.float64]]:
    """Tensor that is read → largest magnitude of each channel, streaming."""
    if not open_seams:
        return {}
    axes = {seam.tensor: 1 if seam.readers[0].op == "Conv" else -1 for seam in open_seams}
    largest: dict[str, Any] = dict.fromkeys(axes, 0.0)

    def look(name: str, array: NDArray[Any]) -> None:
        channel = axes[name] % array.ndim
        others = tuple(axis for axis in range(array.ndim) if axis != channel)
        largest[name] = np.maximum(largest[name], np.abs(array).max(axis=others).astype(np.float64))

    open_taps(model, list(axes), threads=threads).visit(data, look, samples)
    return largest


def _rename(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Give tensors whose values changed a name of their own, in place."""
    new = {name: name + SUFFIX for name in names}
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for info in model.graph.value_info:
        info.name = new.get(info.name, info.name)


def _prove(before: onnx.ModelProto, after: onnx.ModelProto, data: CalibrationData) -> None:
    """Raises StageError where the two do not compute the same on the first samples."""
    first, second = onnx_runner(before), onnx_runner(after)
    for arrays in data.chunks(1, PROVED_ON):
        reason = difference(first(arrays), second(arrays), tolerance=SAME_FUNCTION)
        if reason:
            raise StageError(
                "quantize", f"moving scale between layers changed the network: {reason}", "use another recipe"
            )
