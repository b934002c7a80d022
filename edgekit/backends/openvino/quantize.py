"""Quantization for OpenVINO: NNCF's quantizer, with our ranges, and layers that stay in float."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.backends.openvino.ir import first_line, product_of, quiet_nncf, read_onnx
from edgekit.backends.openvino.ranges import replace_ranges
from edgekit.errors import StageError
from edgekit.quantize import Range, Scheme, collect_ranges, layers_in_float

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest
    from edgekit.quantize import CalibrationData, Recipe

__all__ = ["Quantized", "compress_weights", "quantize"]

NNCF_SAMPLES = 512
"""NNCF keeps every sample's statistics: this bounds its memory. Our own observers stream all samples."""

SMALL_SHARE = 0.005
"""A matrix product below this share of the network's MACs stays in float.

int8 cannot save more time than that, but costs a quantizer before it and, on AVX2, a slow kernel
(measured with OpenVINO 2026.4.1: the 64 x 10 product that ends ResNet-20 takes 3 % of its
time).
"""


@dataclass(frozen=True)
class Quantized:
    """A quantized `openvino.Model`, and what is worth telling about how it came about."""

    model: Any
    notes: tuple[str, ...]


class _Samples:
    """Calibration samples one by one, as NNCF wants them: {input name: array [1, ...]}; restartable."""

    def __init__(self, data: CalibrationData, names: tuple[str, ...], limit: int) -> None:
        self._data, self._names, self._limit = data, names, limit

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for arrays in self._data.chunks(1, self._limit):
            yield dict(zip(self._names, arrays, strict=True))


def quantize(request: ExportRequest) -> Quantized:
    """The variant in int8, by the request's recipe. Raises StageError when it cannot be quantized."""
    recipe, data = request.recipe, request.calibration
    if recipe is None or data is None:
        raise StageError("quantize", "int8 needs a recipe and calibration samples")
    model = read_onnx(request.variant.onnx_path)
    producers = _producers(model)
    small = _small_products(request)
    kept = _sensitive_layers(request, recipe, data, small)
    floats = {**dict.fromkeys(small), **dict.fromkeys(kept), **dict.fromkeys(_kept_ops(request, recipe))}
    outputs = _layer_outputs(request)
    names = sorted({producers[outputs[layer]] for layer in floats if outputs.get(layer) in producers})
    notes = []
    if small:
        notes.append(f"kept in float, under {SMALL_SHARE:.1%} of the MACs each: {', '.join(small)}")
    if kept:
        notes.append(f"kept in float, the most sensitive layers: {', '.join(kept)}")
    ranged = recipe.observer != "nncf"

    def set_ranges(quantized: Any) -> None:
        if ranged:
            replace_ranges(quantized, request, recipe, data)

    try:
        with quiet_nncf() as nncf:
            result = _run(nncf, model, request, recipe, data, names, set_ranges)
    except (RuntimeError, ValueError) as problem:
        if isinstance(problem, StageError):
            raise
        raise StageError("quantize", f"NNCF: {first_line(problem)}", "try another recipe") from problem
    return Quantized(result, tuple(notes))


def compress_weights(onnx_path: str) -> Any:
    """The network with weights in 8 bits (asymmetric, per channel) and float arithmetic."""
    model = read_onnx(onnx_path)
    with quiet_nncf() as nncf:
        try:
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        except (RuntimeError, ValueError) as problem:
            raise StageError("quantize", f"NNCF: {first_line(problem)}") from problem


def _run(
    nncf: Any,
    model: Any,
    request: ExportRequest,
    recipe: Recipe,
    data: CalibrationData,
    ignored: list[str],
    set_ranges: Callable[[Any], None],
) -> Any:
    """nncf.quantize with a step of ours between its range setting and its bias correction.

    nncf.quantize offers no hook there, so the steps of its pipeline are run one by one, as
    nncf/quantization/algorithms/pipeline.py and nncf/openvino/quantization/quantize_model.py (3.4.0) do.
    """
    from nncf.common.factory import build_graph
    from nncf.quantization.algorithms.pipeline import collect_statistics
    from nncf.quantization.algorithms.post_training.pipeline import create_ptq_pipeline
    from openvino._offline_transformations import compress_quantize_weights_transformation

    limit = min(recipe.samples, data.samples, NNCF_SAMPLES)
    inputs = tuple(spec.name for spec in request.variant.signature.inputs)
    pipeline = create_ptq_pipeline(
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=limit,
        fast_bias_correction=recipe.bias_correction != "full",
        ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
        advanced_parameters=_advanced(nncf, request, recipe),
    )
    (step,) = pipeline.pipeline_steps
    dataset = nncf.Dataset(_Samples(data, inputs, limit))
    graph = build_graph(model)
    statistics = collect_statistics(
        pipeline.get_statistic_points_for_step(0, model, graph), model, graph, dataset
    )
    quantizer, *corrections = step
    quantized = quantizer.apply(model, graph, statistics)
    set_ranges(quantized)
    for correction in corrections:
        quantized = correction.apply(quantized, build_graph(quantized), statistics)
    compress_quantize_weights_transformation(quantized)
    return quantized


def _advanced(nncf: Any, request: ExportRequest, recipe: Recipe) -> Any:
    """Weights in 7 bits where u8 x s8 products saturate in 16 bits (AVX2 and AVX-512 without VNNI)."""
    from nncf.quantization.advanced_parameters import QuantizationParameters

    rule = request.target.int8_rule(request.features)
    fix = nncf.OverflowFix.ENABLE if rule.weight_bits == 7 else nncf.OverflowFix.DISABLE
    per_channel = recipe.granularity == "per-channel"
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=fix,
        disable_bias_correction=recipe.bias_correction == "none",
        weights_quantization_params=QuantizationParameters(per_channel=per_channel),
    )


def _producers(model: Any) -> dict[str, str]:
    """Tensor name → friendly name of the operation that computes it: for a layer with bias, the product."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Result":
            names = (name for port in node.outputs() for name in port.get_names())
            found.update(dict.fromkeys(names, product_of(node).get_friendly_name()))
    return found


def _layer_outputs(request: ExportRequest) -> dict[str, str]:
    """ONNX node name → its first output."""
    return {node.name: node.output[0] for node in _graph(request).node}


def _graph(request: ExportRequest) -> Any:
    import onnx

    return onnx.load(request.variant.onnx_path, load_external_data=False).graph


def _kept_ops(request: ExportRequest, recipe: Recipe) -> tuple[str, ...]:
    return tuple(node.name for node in _graph(request).node if node.op_type in recipe.keep_float_ops)


def _small_products(request: ExportRequest) -> tuple[str, ...]:
    """Matrix products too small to gain from int8; none where nothing else would be quantized."""
    layers = [layer for layer in request.variant.cost.layers if layer.macs]
    limit = SMALL_SHARE * sum(layer.macs for layer in layers)
    small = tuple(layer.name for layer in layers if layer.op in ("Gemm", "MatMul") and layer.macs < limit)
    return small if len(small) < len(layers) else ()


def _sensitive_layers(
    request: ExportRequest, recipe: Recipe, data: CalibrationData, besides: tuple[str, ...]
) -> tuple[str, ...]:
    """The recipe's share of layers, most sensitive first, not counting those in float anyway."""
    if not recipe.keep_float:
        return ()
    path = request.variant.onnx_path
    observer = "mse" if recipe.observer == "nncf" else recipe.observer
    ranges: Mapping[str, Range] = collect_ranges(
        path, data, observer, percentile=recipe.percentile, samples=recipe.samples, threads=request.threads
    )
    bits = request.target.int8_rule(request.features).weight_bits
    scheme = Scheme(weight_bits=bits, per_channel=recipe.granularity == "per-channel")
    return layers_in_float(path, data, ranges, recipe, scheme, besides=besides, threads=request.threads)
