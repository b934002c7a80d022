"""Which way each weight is rounded: not to the nearest integer, but so that its layer's output changes least.

Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization" (arXiv:2004.10568), section 3: of
the two integers beside each weight, those that minimize dw' E[x x'] dw per output channel. The paper relaxes the
problem and trains it; here it is solved by coordinate descent from the nearest integers: the flip that gains most in
each channel, until none gains. That needs the second moments of a layer's inputs alone, so memory does not grow with
the samples, no step is drawn by chance, and no channel ends worse than where it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.layers import Layer, weighted_layers
from edgekit.graph.lowering import attributes_of
from edgekit.graph.taps import open_taps
from edgekit.quantize.bias import original_biases
from edgekit.quantize.simulate import Scheme, weight_grid

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.graph.calibration import CalibrationData

__all__ = ["Rounded", "round_adaptively"]

POSITIONS = 32
"""Places of an image that are looked at per sample: neighbours tell much the same."""

LARGEST_INPUTS = 4608
"""A layer that reads more numbers for one of its own keeps the nearest integers: moments take the square of that."""

MOMENT_BYTES = 256 << 20
"""Second moments that are gathered in one pass take this much at most; more layers take more passes."""

RIDGE = 1e-3
"""Added to the moments' diagonal, as a share of its mean: what calibration never moved is not free to go anywhere."""


@dataclass(frozen=True)
class Rounded:
    """Initializer → weights that lie on the grid of the scheme, and layer → the bias that takes out the shift left.

    `flipped`: how many weights are not at their nearest integer, of `total`.
    """

    weights: Mapping[str, NDArray[np.float32]]
    biases: Mapping[str, NDArray[np.float32]]
    flipped: int
    total: int


@dataclass
class _Moments:
    """Of the inputs of one layer: sums over positions, per group of a convolution."""

    layer: Layer
    groups: int
    size: int
    count: int = 0
    squares: Any = field(default=0.0)
    sums: Any = field(default=0.0)

    def add(self, rows: NDArray[Any]) -> None:
        """Rows [positions, groups, size]."""
        wide = rows.astype(np.float64).transpose(1, 0, 2)
        self.squares = self.squares + wide.transpose(0, 2, 1) @ wide
        self.sums = self.sums + wide.sum(axis=1)
        self.count += rows.shape[0]


def round_adaptively(
    model: onnx.ModelProto,
    data: CalibrationData,
    scheme: Scheme,
    *,
    samples: int = 256,
    threads: int = 1,
) -> Rounded:
    """New weights of every Conv, Gemm and MatMul whose inputs are few enough. The largest weight of each scale keeps
    its integer, so that whoever rounds the result gets the same scale, and by it the same integers."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    gathered = []
    for layer in weighted_layers(model):
        array = numpy_helper.to_array(constants[layer.weight])
        groups = int(attributes_of(nodes[layer.name]).get("group", 1))
        size = array.size // array.shape[layer.channel_axis] if array.ndim > 1 else 0
        if readers[layer.weight] == 1 and _rounds(layer, nodes[layer.name], array, size):
            gathered.append(_Moments(layer, groups, size))
    biases = original_biases(model)
    weights, corrected, flipped, total = {}, {}, 0, 0
    for batch in _batches(gathered):
        _gather(model, batch, nodes, constants, data, samples, threads)
        for moments in batch:
            layer = moments.layer
            array = numpy_helper.to_array(constants[layer.weight])
            rows = np.moveaxis(array, layer.channel_axis, 0).reshape(array.shape[layer.channel_axis], -1)
            scale, largest = weight_grid(array, scheme, layer.channel_axis)
            scales = np.broadcast_to(scale.reshape(-1, 1), (len(rows), 1)).astype(np.float64)
            integers, shift = _rounded_layer(
                rows.astype(np.float64), scales, largest, moments, layer.name in biases
            )
            flipped += int((integers != np.rint(rows / scales)).sum())
            total += rows.size
            turned = (
                (integers * scales)
                .astype(np.float32)
                .reshape(np.moveaxis(array, layer.channel_axis, 0).shape)
            )
            weights[layer.weight] = np.ascontiguousarray(np.moveaxis(turned, 0, layer.channel_axis))
            if layer.name in biases:
                corrected[layer.name] = np.asarray(biases[layer.name] + shift, np.float32)
            moments.squares = 0.0
    return Rounded(weights, corrected, flipped, total)


def rounded_rows(
    rows: NDArray[np.float64], scales: NDArray[np.float64], largest: int, moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integers [channels, inputs] beside rows / scales [channels, 1] that make dw' moments dw small, by descent.

    `moments` [inputs, inputs] is symmetric and has no negative eigenvalue.
    """
    exact = rows / scales
    integers = np.clip(np.rint(exact), -largest, largest)
    other = np.clip(np.where(integers > exact, integers - 1, integers + 1), -largest, largest)
    # What sets a scale keeps its integer, and so does what lies on one.
    fixed = (np.abs(integers) >= largest) | (np.abs(integers - exact) < 1e-6)
    step = np.where(fixed, 0.0, (other - integers) * scales)
    slope = (integers * scales - rows) @ moments
    diagonal = np.diag(moments)
    every = np.arange(len(rows))
    for _ in range(2 * rows.shape[1]):
        gain = step * (2.0 * slope + step * diagonal)
        place = gain.argmin(axis=1)
        flips = gain[every, place] < -1e-12 * (1.0 + np.abs(slope[every, place]))
        if not flips.any():
            break
        at, where = every[flips], place[flips]
        moved = step[at, where]
        slope[at] += moved[:, None] * moments[where]
        integers[at, where], other[at, where] = other[at, where], integers[at, where]
        step[at, where] = -moved
    return integers


def _rounded_layer(
    rows: NDArray[np.float64], scales: NDArray[np.float64], largest: int, moments: _Moments, has_bias: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The layer's integers, group by group, and what the mean of each output lacks [channels].

    Where a bias takes the mean's shift, what is left to make small is the variance.
    """
    integers, shift = np.empty_like(rows), np.zeros(len(rows))
    channels = len(rows) // moments.groups
    for group in range(moments.groups):
        place = slice(group * channels, (group + 1) * channels)
        mean = moments.sums[group] / moments.count
        matrix = moments.squares[group] / moments.count
        if has_bias:
            matrix = matrix - np.outer(mean, mean)
        ridge = RIDGE * max(float(np.trace(matrix)) / len(matrix), 1e-30)
        matrix = matrix + ridge * np.eye(len(matrix))
        integers[place] = rounded_rows(rows[place], scales[place], largest, matrix)
        shift[place] = (rows[place] - integers[place] * scales[place]) @ mean
    return integers, shift


def _rounds(layer: Layer, node: onnx.NodeProto, weight: NDArray[Any], size: int) -> bool:
    """Whether the layer's rows can be gathered."""
    settings = attributes_of(node)
    if size > LARGEST_INPUTS or layer.op == "ConvTranspose" or settings.get("transA"):
        return False
    if layer.op == "Conv":
        return settings.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    return weight.ndim == 2 and settings.get("alpha", 1.0) == 1.0 and settings.get("beta", 1.0) == 1.0


def _batches(gathered: Sequence[_Moments]) -> Iterator[list[_Moments]]:
    """Layers in the order of the graph, whose moments fit side by side."""
    batch: list[_Moments] = []
    used = 0
    for moments in gathered:
        needed = 8 * moments.groups * moments.size**2
        if batch and used + needed > MOMENT_BYTES:
            yield batch
            batch, used = [], 0
        batch.append(moments)
        used += needed
    if batch:
        yield batch


def _gather(
    model: onnx.ModelProto,
    batch: Sequence[_Moments],
    nodes: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
    data: CalibrationData,
    samples: int,
    threads: int,
) -> None:
    """One pass over the samples."""
    by_input: dict[str, list[_Moments]] = {}
    for moments in batch:
        by_input.setdefault(moments.layer.input, []).append(moments)
    chance = np.random.default_rng(0)

    def look(name: str, array: NDArray[Any]) -> None:
        for moments in by_input[name]:
            layer = moments.layer
            if layer.op == "Conv":
                kernel = tuple(constants[layer.weight].dims)[2:]
                rows = _windows(array, kernel, attributes_of(nodes[layer.name]), chance)
            else:
                rows = array.reshape(-1, array.shape[-1])
            moments.add(rows.reshape(len(rows), moments.groups, -1))

    inputs = {port.name for port in model.graph.input}
    tapped = [name for name in by_input if name not in inputs]
    if tapped:
        open_taps(model, tapped, threads=threads).visit(data, look, samples)
    fed = [port.name for port in model.graph.input if port.name not in constants]
    for place, name in enumerate(fed):
        if name in by_input:
            for arrays in data.chunks(32, samples):
                look(name, arrays[place])


def _windows(
    array: NDArray[Any], kernel: tuple[int, ...], settings: Mapping[str, Any], chance: np.random.Generator
) -> NDArray[Any]:
    """What a convolution multiplies at some places of [N, C, ...]: [places, C, *kernel]."""
    rank = len(kernel)
    pads = settings.get("pads", [0] * (2 * rank))
    strides, dilations = settings.get("strides", [1] * rank), settings.get("dilations", [1] * rank)
    around = [(0, 0), (0, 0)] + [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    padded = np.pad(array, around)
    spans = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + rank)))
    chosen = (slice(None),) * 2 + tuple(slice(None, None, step) for step in (*strides, *dilations))
    view = np.moveaxis(view[chosen], 1, 1 + rank)  # [N, *out, C, *kernel]
    places = view.shape[: 1 + rank]
    count = min(int(np.prod(places)), POSITIONS * places[0])
    drawn = chance.choice(int(np.prod(places)), count, replace=False)
    return np.asarray(view[np.unravel_index(np.sort(drawn), places)])
