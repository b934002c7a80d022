"""Bias correction: takes out the shift that quantization gives to the mean of each output channel.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721),
section 4.2, in its empirical form: bias += E[float output] - E[quantized output], per output channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.layers import Layer, weighted_layers
from edgekit.graph.taps import load_graph, open_taps
from edgekit.quantize.simulate import Scheme, fake_quantize_weights, simulated

if TYPE_CHECKING:
    import onnx

    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.observers.ranges import Range

__all__ = ["corrected_biases", "float_name", "original_biases", "with_biases"]


def corrected_biases(
    onnx_path: str | Path,
    data: CalibrationData,
    ranges: Mapping[str, Range],
    *,
    mode: Literal["fast", "full"] = "fast",
    scheme: Scheme | None = None,
    samples: int = 256,
    threads: int = 1,
) -> dict[str, NDArray[np.float32]]:
    """Layer name → new bias [output channels] of each Conv and Gemm.

    `fast`: one pass; the shift that rounding the weights gives on the float network's own inputs.
    `full`: layer after layer, on the network quantized and corrected up to there; a pass per layer.
    """
    model = load_graph(onnx_path)
    layers = [layer for layer in weighted_layers(model) if layer.op in ("Conv", "Gemm")]
    biases = {layer.name: _bias(model, layer) for layer in layers}
    if mode == "fast":
        shifts = _weight_shifts(model, layers, data, scheme or Scheme(), samples, threads)
        return {name: np.asarray(bias + shifts[name], np.float32) for name, bias in biases.items()}
    names = {layer.name for layer in weighted_layers(model)}
    means = _means(model, [layer.output for layer in layers], data, samples, threads)
    for layer in layers:
        quantized = simulated(with_biases(model, biases), ranges, names, scheme or Scheme())
        # Where no activation follows, the layer's output is quantized at once: its float form has another name.
        tap = layer.output if layer.result != layer.output else float_name(quantized, layer)
        shifted = _means(quantized, [tap], data, samples, threads, simulated_graph=True)[tap]
        biases[layer.name] = np.asarray(biases[layer.name] + means[layer.output] - shifted, np.float32)
    return biases


def original_biases(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Layer name → bias [output channels] of each Conv and Gemm, as `corrected_biases` names them."""
    return {
        layer.name: _bias(model, layer) for layer in weighted_layers(model) if layer.op in ("Conv", "Gemm")
    }


def with_biases(model: onnx.ModelProto, biases: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """A copy where the named layers have these biases (layer name → [output channels])."""
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.name in biases:
            name = f"{node.name}/corrected_bias"
            _drop(copy, name)  # corrected before
            copy.graph.initializer.append(numpy_helper.from_array(biases[node.name], name))
            node.input[:] = [*list(node.input)[:2], name]
    return copy


def _drop(model: onnx.ModelProto, name: str) -> None:
    """Remove an initializer of that name, if there is one."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            model.graph.initializer.remove(tensor)
            return


def _bias(model: onnx.ModelProto, layer: Layer) -> NDArray[np.float32]:
    """The layer's bias as [output channels]; zeros where it has none."""
    from onnx import numpy_helper

    constants = {initializer.name: initializer for initializer in model.graph.initializer}
    channels = numpy_helper.to_array(constants[layer.weight]).shape[layer.channel_axis]
    bias = (
        numpy_helper.to_array(constants[layer.bias]) if layer.bias in constants else np.zeros(1, np.float32)
    )
    return np.asarray(np.broadcast_to(bias.reshape(-1), (channels,)), np.float32)


def _weight_shifts(
    model: onnx.ModelProto,
    layers: list[Layer],
    data: CalibrationData,
    scheme: Scheme,
    samples: int,
    threads: int,
) -> dict[str, NDArray[np.float64]]:
    """E[layer with (W - quantized W), no bias] per channel, beside the float network, in one pass."""
    import onnx
    from onnx import helper, numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {initializer.name: initializer for initializer in copy.graph.initializer}
    twins = {}
    for layer in layers:
        weights = numpy_helper.to_array(constants[layer.weight])
        error = np.asarray(weights - fake_quantize_weights(weights, scheme, layer.channel_axis), np.float32)
        twin = replace(layer, name=f"{layer.name}/rounding", weight=f"{layer.name}/rounding_weight")
        twins[layer.name] = f"{layer.name}/rounding_output"
        original = next(node for node in copy.graph.node if node.name == layer.name)
        node = helper.make_node(layer.op, [layer.input, twin.weight], [twins[layer.name]], name=twin.name)
        node.attribute.extend(original.attribute)
        copy.graph.initializer.append(numpy_helper.from_array(error, twin.weight))
        copy.graph.node.append(node)
    means = _means(copy, list(twins.values()), data, samples, threads)
    return {name: means[output] for name, output in twins.items()}


def _means(
    model: onnx.ModelProto,
    names: list[str],
    data: CalibrationData,
    samples: int,
    threads: int,
    *,
    simulated_graph: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Mean per channel (axis 1) of tensors [N, C, ...], streaming."""
    if not names:
        return {}
    totals: dict[str, Any] = dict.fromkeys(names, 0.0)
    counts = dict.fromkeys(names, 0)

    def look(name: str, array: NDArray[Any]) -> None:
        axes = (0, *range(2, array.ndim))
        totals[name] = totals[name] + array.sum(axis=axes, dtype=np.float64)
        counts[name] += array.size // array.shape[1]

    open_taps(model, names, threads=threads, simulated=simulated_graph).visit(data, look, samples)
    return {name: np.asarray(totals[name] / max(counts[name], 1), np.float64) for name in names}


def float_name(quantized: onnx.ModelProto, layer: Layer) -> str:
    """What the simulated graph calls the layer's output before its Q/DQ pair."""
    node = next(node for node in quantized.graph.node if node.name == layer.name)
    name: str = node.output[0]
    return name
