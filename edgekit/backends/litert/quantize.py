"""Quantization for LiteRT: AI Edge Quantizer's integers and weights, by the plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.litert.audit import delegated
from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops, replace_biases, write_flatbuffer
from edgekit.backends.litert.origins import kept_in_file
from edgekit.backends.litert.plan import computed_tensors
from edgekit.errors import MissingExtraError, StageError, in_one_line
from edgekit.graph.taps import load_graph
from edgekit.quantize.bias import original_biases
from edgekit.quiet import quiet

if TYPE_CHECKING:
    import onnx

    from edgekit.quantize import QuantPlan, Range, Scheme

__all__ = ["quantize_dynamic", "quantize_full", "store_half"]


def quantize_full(plan: QuantPlan, onnx_path: Path, path: Path) -> tuple[str, ...]:
    """The float .tflite at `path`, made of the variant `onnx_path`, in int8 by the plan, in place; gives notes for the
    report.

    Raises StageError when the quantizer refuses.
    """
    graph = load_graph(onnx_path)
    tensors = computed_tensors(graph)
    sensitive = [tensors[layer] for layer in plan.kept("sensitive")]
    in_float = [layer.name for layer in plan.in_float]
    kept = kept_in_file(read_ops(read_flatbuffer(path)), graph, in_float)
    if plan.biases:
        _write_biases(plan, graph, path)
    with quiet():
        quantizer, kinds = _open(path.read_bytes())
        quantizer.add_static_config(
            ".*", kinds.ALL_SUPPORTED, 8, 8, weight_granularity=_granularity(plan.integers)
        )
        if plan.io == "float":
            for kind in (kinds.INPUT, kinds.OUTPUT):
                quantizer.update_quantization_recipe(".*", kind, algorithm_key=_no_quantize())
        _keep_float(quantizer, kinds, kept)
        for table in plan.tables:
            quantizer.add_dynamic_config(_computing(tensors[table]), kinds.EMBEDDING_LOOKUP, 8)
        path.write_bytes(_run(quantizer, _as_statistics(plan.ranges, path)))
    told = (f"Kept in float as the most sensitive: {', '.join(sensitive)}.",) if sensitive else ()
    return (*plan.notes, *told)


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
    for layer in layers:
        quantizer.update_quantization_recipe(
            _computing(layer), kinds.ALL_SUPPORTED, algorithm_key=_no_quantize()
        )


def _computing(tensor: str) -> str:
    """How the quantizer finds an operation: by the tensors it computes, each followed by a semicolon."""
    return f"(^|;){re.escape(tensor)};"


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


def _write_biases(plan: QuantPlan, graph: onnx.ModelProto, path: Path) -> None:
    """The plan's corrected biases in the float .tflite, in place.

    A layer is found by the tensor it computes; one whose bias the converter has changed is left as it is.
    """
    old, new, tensors = original_biases(graph), plan.corrected(), computed_tensors(graph)
    model = read_flatbuffer(path)
    replace_biases(model, {tensors[layer]: (old[layer], bias) for layer, bias in new.items()})
    write_flatbuffer(model, path)


def _as_statistics(ranges: Mapping[str, Range], path: Path) -> dict[str, dict[str, Any]]:
    """Ranges as AI Edge Quantizer's calibration gives them: arrays of one element with the tensor's rank.

    Widened to hold zero: the quantizer does so too, but not for a tensor without any width.
    """
    ranks = {
        tensor.name: len(tensor.shape)
        for op in read_ops(read_flatbuffer(path))
        for tensor in (*op.inputs, *op.outputs)
    }
    statistics = {}
    for name, values in ranges.items():
        safe, form = values.with_zero(), (1,) * ranks.get(name, 1)
        statistics[name] = {
            "min": np.full(form, safe.low, np.float32),
            "max": np.full(form, safe.high, np.float32),
            "num_samples": np.array(1),
        }
    return statistics


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
    except (RuntimeError, ValueError, LookupError, AssertionError) as error:
        raise StageError(
            "quantize", f"AI Edge Quantizer: {in_one_line(error)}", "try another precision"
        ) from error
    return bytes(result.quantized_model)


def _granularity(integers: Scheme) -> Any:
    from ai_edge_quantizer import qtyping

    kinds = qtyping.QuantGranularity
    return kinds.CHANNELWISE if integers.per_channel else kinds.TENSORWISE


def _no_quantize() -> Any:
    from ai_edge_quantizer.quantizer import AlgorithmName

    return AlgorithmName.NO_QUANTIZE
