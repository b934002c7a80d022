"""Quantization for LiteRT: AI Edge Quantizer's integers and weights, with our ranges and our choice of float layers.

XNNPACK and LiteRT's own kernels take int8 activations with any zero point and int8 weights, symmetric and per
channel, whatever the CPU (LiteRT 8-bit quantization specification): a target's rule for uint8 is for other runtimes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.litert.audit import delegated
from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops, replace_biases, write_flatbuffer
from edgekit.backends.litert.interpreter import open_all
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.quantize import Range, Scheme, make_observer, sensitivity
from edgekit.quantize.observers.ranges import SMALLEST_WIDTH
from edgekit.quiet import quiet

if TYPE_CHECKING:
    from edgekit.backends.base import ExportRequest
    from edgekit.backends.litert.convert import Port
    from edgekit.quantize import CalibrationData, Recipe

__all__ = ["SCHEME", "collect", "quantize_dynamic", "quantize_full", "store_half"]

SCHEME = Scheme(activation="int8", weight_bits=8, per_channel=True)


def quantize_full(request: ExportRequest, path: Path, inputs: Sequence[Port]) -> tuple[str, ...]:
    """The float .tflite at `path` in int8, in place; gives notes for the report.

    Raises StageError without a recipe and samples, and when the quantizer refuses.
    """
    recipe, data = request.recipe, request.calibration
    if recipe is None or data is None:
        raise StageError(
            "quantize", "int8 needs a recipe and calibration samples", "give one, e.g. int8-minmax"
        )
    if recipe.observer == "nncf":
        raise StageError("quantize", f'recipe "{recipe.name}" leaves ranges to NNCF, which OpenVINO has',
                         "use int8-mse")  # fmt: skip
    ranges = collect(path, data, recipe, inputs, request.threads)
    flat = [name for name, each in ranges.items() if each.high - each.low < SMALLEST_WIDTH]
    kept = _layers_in_float(request, recipe, data, ranges, path)
    if recipe.bias_correction != "none":
        _correct_biases(request, recipe, data, ranges, path, kept)
    with quiet():
        quantizer, kinds = _open(path.read_bytes())
        quantizer.add_static_config(
            ".*", kinds.ALL_SUPPORTED, 8, 8, weight_granularity=_granularity(recipe.granularity)
        )
        if recipe.io == "float":
            for each in (kinds.INPUT, kinds.OUTPUT):
                quantizer.update_quantization_recipe(".*", each, algorithm_key=_no_quantize())
        _keep_float(quantizer, kinds, kept)
        path.write_bytes(_run(quantizer, _as_statistics(ranges, path)))
    notes = []
    if flat:
        named = ", ".join(flat[:6]) + (f" and {len(flat) - 6} more" if len(flat) > 6 else "")
        notes.append(
            f"Calibration never varied {len(flat)} tensors ({named}): their ranges were widened to hold zero and "
            "never be empty."
        )
    if kept:
        notes.append(f"Kept in float as the most sensitive: {', '.join(kept)}.")
    return tuple(notes)


def quantize_dynamic(path: Path) -> tuple[str, ...]:
    """Weights in int8 per channel, activations quantized while it runs, in place; gives notes for the report.

    What XNNPACK does not take in this form stays in float: depthwise convolutions. LiteRT's own kernel for them
    made a MobileNetV2 of 96×96 seven times slower than float (ai-edge-litert 2.3, x86 with AVX512).
    """
    content = path.read_bytes()
    path.write_bytes(_dynamic(content, ()))
    taken = delegated(path)
    ops = read_ops(read_flatbuffer(path))
    left = [op.name for op in ops if op.precision == "int8-dynamic" and op.index not in taken]
    if not left:
        return ()
    path.write_bytes(_dynamic(content, left))
    return (f"Left in float, since XNNPACK has no dynamic-range form of them: {', '.join(left)}.",)


def _dynamic(content: bytes, left: Sequence[str]) -> bytes:
    """The float file with int8 weights in all layers but those that compute the tensors `left`."""
    with quiet():
        quantizer, kinds = _open(content)
        quantizer.add_dynamic_config(".*", kinds.ALL_SUPPORTED, 8)
        _keep_float(quantizer, kinds, left)
        return _run(quantizer, None)


def _keep_float(quantizer: Any, kinds: Any, layers: Sequence[str]) -> None:
    """The quantizer finds an operation by the tensors it computes, each followed by a semicolon."""
    for layer in layers:
        quantizer.update_quantization_recipe(
            f"(^|;){re.escape(layer)};", kinds.ALL_SUPPORTED, algorithm_key=_no_quantize()
        )


def store_half(path: Path) -> None:
    """Weights in float16, brought back to float32 when the file is loaded, in place."""
    with quiet():
        quantizer, kinds = _open(path.read_bytes())
        from ai_edge_quantizer import qtyping
        from ai_edge_quantizer.quantizer import AlgorithmName

        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        settings = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        for kind in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED, kinds.CONV_2D_TRANSPOSE):
            quantizer.update_quantization_recipe(
                ".*", kind, settings, algorithm_key=AlgorithmName.FLOAT_CASTING
            )
        path.write_bytes(_run(quantizer, None))


def collect(
    path: Path, data: CalibrationData, recipe: Recipe, inputs: Sequence[Port], threads: int = 1
) -> dict[str, Range]:
    """Tensor name → range of every float tensor that the .tflite at `path` computes; one pass, one sample at a time.

    Raises StageError when a tensor holds NaN or infinity, or there are no samples.
    """
    with open_all(path, threads) as network:
        details = {int(each["index"]): str(each["name"]) for each in network.interpreter.get_tensor_details()}
        observers = {index: make_observer(recipe.observer, recipe.percentile) for index in network.tensors}
        for arrays in data.chunks(1, recipe.samples):
            feeds = [
                np.ascontiguousarray(np.moveaxis(array, 1, -1) if port.channels_last else array, np.float32)
                for array, port in zip(arrays, inputs, strict=True)
            ]
            for index, value in network.look(feeds).items():
                try:
                    observers[index].observe(value)
                except ValueError as error:
                    raise StageError(
                        "calibrate",
                        f'tensor "{details[index]}" holds {error}',
                        "check the model and its data",
                    ) from error
    try:
        return {details[index]: watcher.range() for index, watcher in observers.items()}
    except ValueError as error:
        raise StageError("calibrate", f"{error}", "give calibration samples") from error


def _layers_in_float(
    request: ExportRequest, recipe: Recipe, data: CalibrationData, ranges: Mapping[str, Range], path: Path
) -> tuple[str, ...]:
    """Operations to keep in float, by the tensor they compute: as many layers as the recipe says, the worst first.

    Sensitivity is measured on the ONNX network with LiteRT's integers; a layer is found again by its tensor's name.
    """
    if recipe.keep_float == 0:
        return ()
    from edgekit.graph.layers import weighted_layers
    from edgekit.graph.taps import load_graph

    source = Path(request.variant.onnx_path)
    results = {layer.name: layer.result for layer in weighted_layers(load_graph(source))}
    computed = {op.name for op in read_ops(read_flatbuffer(path))}
    ranked = sensitivity(source, data, ranges, scheme=SCHEME, threads=request.threads)
    known = [results[entry.layer] for entry in ranked if results[entry.layer] in computed]
    return tuple(known[: recipe.layers_in_float(len(ranked))])


def _correct_biases(
    request: ExportRequest,
    recipe: Recipe,
    data: CalibrationData,
    ranges: Mapping[str, Range],
    path: Path,
    kept: Collection[str],
) -> None:
    """Biases of the layers that will be int8, corrected on the ONNX network and written into the float .tflite.

    A layer is found by the tensor it computes; one whose bias the converter has changed is left as it is.
    """
    from edgekit.graph.layers import weighted_layers
    from edgekit.graph.taps import load_graph
    from edgekit.quantize import corrected_biases
    from edgekit.quantize.bias import original_biases

    if recipe.bias_correction == "none":
        return
    source = Path(request.variant.onnx_path)
    graph = load_graph(source)
    biases = corrected_biases(
        source, data, ranges, mode=recipe.bias_correction, scheme=SCHEME, threads=request.threads
    )
    old = original_biases(graph)
    wanted = {
        layer.result: (old[layer.name], biases[layer.name])
        for layer in weighted_layers(graph)
        if layer.name in biases and layer.result not in kept
    }
    model = read_flatbuffer(path)
    replace_biases(model, wanted)
    write_flatbuffer(model, path)


def _as_statistics(ranges: Mapping[str, Range], path: Path) -> dict[str, dict[str, Any]]:
    """Ranges as AI Edge Quantizer's calibration gives them: arrays of one element with the tensor's rank.

    Widened to hold zero: the quantizer does so too, but not for a tensor without any width.
    """
    ranks = {
        each.name: len(each.shape)
        for op in read_ops(read_flatbuffer(path))
        for each in (*op.inputs, *op.outputs)
    }
    found = {}
    for name, each in ranges.items():
        safe, form = each.with_zero(), (1,) * ranks.get(name, 1)
        found[name] = {
            "min": np.full(form, safe.low, np.float32),
            "max": np.full(form, safe.high, np.float32),
            "num_samples": np.array(1),
        }
    return found


def _open(content: bytes) -> tuple[Any, Any]:
    """A quantizer without a recipe yet, and the names of operations it knows."""
    try:
        from ai_edge_quantizer import qtyping, quantizer
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-quantizer", "tflite") from error
    return quantizer.Quantizer(bytearray(content)), qtyping.TFLOperationName


def _run(quantizer: Any, statistics: Mapping[str, Any] | None) -> bytes:
    """The quantized file. Raises StageError."""
    try:
        result = quantizer.quantize(statistics, enable_progress_report=False, enable_progress_bar=False)
    except (RuntimeError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise StageError(
            "quantize", f"AI Edge Quantizer: {in_one_line(error)}", "try another precision"
        ) from error
    return bytes(result.quantized_model)


def _granularity(name: str) -> Any:
    from ai_edge_quantizer import qtyping

    kinds = qtyping.QuantGranularity
    return kinds.CHANNELWISE if name == "per-channel" else kinds.TENSORWISE


def _no_quantize() -> Any:
    from ai_edge_quantizer.quantizer import AlgorithmName

    return AlgorithmName.NO_QUANTIZE
