"""Gives each output channel of a quantized layer the scale and the shift that bring it nearest to float.

After QwT (Fu et al. 2025, "Quantization without Tears", arXiv:2411.13918), whose second version corrects channel by
channel: y_float ~ a y_quantized + b by least squares, in closed form. Weights have a scale per channel, so a goes into
that scale, the integers staying as they are, and b into the bias: the repaired network takes no longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.graph.layers import Layer, weighted_layers
from edgekit.graph.taps import open_taps
from edgekit.quantize.bias import float_name, original_biases, with_biases
from edgekit.quantize.simulate import Scheme, simulated

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.observers.ranges import Range

__all__ = ["repair_channels"]

LEAST, MOST = 0.5, 2.0
"""A channel's factor stays within these: what needs more was not quantized but lost."""


def repair_channels(
    reference: onnx.ModelProto,
    model: onnx.ModelProto,
    data: CalibrationData,
    ranges: Mapping[str, Range],
    scheme: Scheme,
    *,
    samples: int = 128,
    threads: int = 1,
) -> onnx.ModelProto:
    """A copy of `model` with weights and biases of each Conv and Gemm scaled and shifted, layer after layer.

    Each is fitted on the network quantized and repaired up to there, to `reference`: the same graph in float, before
    anything was rounded.
    """
    from onnx import numpy_helper

    names = {layer.name for layer in weighted_layers(model)}
    repaired = with_biases(model, original_biases(model))
    biases = original_biases(repaired)
    constants = {tensor.name: tensor for tensor in repaired.graph.initializer}
    for layer in weighted_layers(model):
        if layer.name not in biases:
            continue
        quantized = simulated(repaired, ranges, names, scheme)
        # Where no activation follows, the layer's output is quantized at once: its float form has another name.
        tap = layer.output if layer.result != layer.output else float_name(quantized, layer)
        factor, shift = _fit(reference, quantized, layer, tap, data, samples, threads)
        weight = constants[layer.weight]
        array = numpy_helper.to_array(weight)
        form = [1] * array.ndim
        form[layer.channel_axis] = -1
        scaled = np.asarray(array * factor.reshape(form), np.float32)
        weight.CopyFrom(numpy_helper.from_array(scaled, layer.weight))
        biases[layer.name] = np.asarray(factor * biases[layer.name] + shift, np.float32)
        stored = next(node for node in repaired.graph.node if node.name == layer.name).input[2]
        constants[stored].CopyFrom(numpy_helper.from_array(biases[layer.name], stored))
    return repaired


def _fit(
    reference: onnx.ModelProto,
    quantized: onnx.ModelProto,
    layer: Layer,
    tap: str,
    data: CalibrationData,
    samples: int,
    threads: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per channel (axis 1) the factor and the shift of least squares, streaming."""
    right = open_taps(reference, [layer.output], threads=threads)
    wrong = open_taps(quantized, [tap], threads=threads, simulated=True)
    count, totals = 0, [np.zeros(1) for _ in range(4)]
    for arrays in data.chunks(min(right.batch, wrong.batch), samples):
        wanted, given = (
            _by_channel(taps.run(arrays)[name]) for taps, name in ((right, layer.output), (wrong, tap))
        )
        parts = (
            wanted.sum(axis=1),
            given.sum(axis=1),
            (wanted * given).sum(axis=1),
            (given * given).sum(axis=1),
        )
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
        count += wanted.shape[1]
    mean_wanted, mean_given, product, square = (total / max(count, 1) for total in totals)
    variance = square - mean_given**2
    moves = variance > 1e-9 * np.maximum(square, 1e-30)
    factor = np.where(moves, (product - mean_wanted * mean_given) / np.where(moves, variance, 1.0), 1.0)
    factor = np.clip(factor, LEAST, MOST)
    return factor, mean_wanted - factor * mean_given


def _by_channel(array: NDArray[Any]) -> NDArray[np.float64]:
    """[N, C, ...] as [C, values]."""
    return np.asarray(np.moveaxis(array, 1, 0).reshape(array.shape[1], -1), np.float64)
