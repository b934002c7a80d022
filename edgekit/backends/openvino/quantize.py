"""Quantization for OpenVINO: NNCF's quantizer and bias correction, with the plan's ranges and layers in float."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.openvino.ir import first_line, product_of, quiet_nncf, read_onnx
from edgekit.backends.openvino.ranges import refine_weights, replace_ranges
from edgekit.errors import StageError
from edgekit.graph.attention import attends
from edgekit.graph.taps import load_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.graph import CalibrationData
    from edgekit.quantize import QuantPlan, Scheme

__all__ = ["SMALL_SHARE", "QuantizedIr", "compress_weights", "place_quantizers", "quantize"]

NNCF_SAMPLES = 512
"""NNCF keeps every sample's statistics: this bounds its memory. Our own observers stream all samples."""

BLOCK = 32
"""Inputs of a layer that share one scale in 4 bits; ONNX Runtime's blocks are as large."""

SMALL_SHARE = 0.005
"""A matrix product below this share of the network's MACs stays in float.

int8 cannot save more time than that, but costs a quantizer before it and, on AVX2, a slow kernel
(measured with OpenVINO 2026.4.1: the 64 x 10 product that ends ResNet-20 takes 3 % of its
time).
"""


@dataclass(frozen=True)
class QuantizedIr:
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


def quantize(plan: QuantPlan, onnx_path: Path, inputs: tuple[str, ...], data: CalibrationData) -> QuantizedIr:
    """The plan written into the network. NNCF's quantizer needs the samples: for what the plan leaves to it, and for
    ranges of tensors that only OpenVINO has.

    Raises StageError when it cannot be quantized.
    """
    model = read_onnx(onnx_path)
    ignored = _ignored(model, onnx_path, tuple(layer.name for layer in plan.in_float))
    notes = []
    if small := plan.kept("small"):
        notes.append(f"kept in float, under {SMALL_SHARE:.1%} of the MACs each: {', '.join(small)}")
    if sensitive := plan.kept("sensitive"):
        notes.append(f"kept in float, the most sensitive layers: {', '.join(sensitive)}")
    notes += plan.notes
    limit = min(plan.samples, NNCF_SAMPLES)
    try:
        with quiet_nncf() as nncf:
            pipeline = _pipeline(nncf, onnx_path, plan.integers, ignored, limit, plan.bias_correction)
            result = _run(nncf, pipeline, model, nncf.Dataset(_Samples(data, inputs, limit)), plan)
    except (RuntimeError, ValueError, AssertionError) as problem:
        if isinstance(problem, StageError):
            raise
        raise StageError("quantize", f"NNCF: {first_line(problem)}", "try another recipe") from problem
    return QuantizedIr(result, tuple(notes))


def compress_weights(onnx_path: str, bits: int) -> Any:
    """The network with weights in 8 bits (asymmetric, per channel) or 4 (symmetric, in blocks of 32 inputs).

    In 4 bits are matrix products whose inputs divide into blocks, but the last; other weights have 8. The arithmetic is
    the runtime's affair.
    """
    model = read_onnx(onnx_path)
    with quiet_nncf() as nncf:
        try:
            if bits == 8:
                return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
            return nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT4_SYM,
                group_size=BLOCK,
                advanced_parameters=nncf.AdvancedCompressionParameters(
                    group_size_fallback_mode=nncf.GroupSizeFallbackMode.IGNORE
                ),
            )
        except (RuntimeError, ValueError) as problem:
            raise StageError("quantize", f"NNCF: {first_line(problem)}") from problem


def place_quantizers(
    onnx_path: Path, integers: Scheme, in_float: Sequence[str], known: Set[str]
) -> tuple[frozenset[str], list[set[str]]]:
    """Tensors, of those `known`, that NNCF quantizes, and its groups that share one scale. No sample is looked at.

    Raises StageError when NNCF refuses the network.
    """
    model = read_onnx(onnx_path)
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    ignored = _ignored(model, onnx_path, in_float)

    def name_of(point: Any) -> str:
        node = nodes[point.target_node_name]
        before = point.type.name == "PRE_LAYER_OPERATION"
        port = node.input_value(point.port_id) if before else node.output(point.port_id)
        return min(port.get_names() & known, default="")

    try:
        with quiet_nncf() as nncf:
            from nncf.common.factory import build_graph

            pipeline = _pipeline(nncf, onnx_path, integers, ignored, NNCF_SAMPLES, "none")
            graph = build_graph(model)
            pipeline.get_statistic_points_for_step(0, model, graph)  # places the quantizers
            points, groups = pipeline.pipeline_steps[0][0]._get_quantization_target_points(model, graph)
    except (RuntimeError, ValueError, AssertionError) as problem:
        raise StageError("quantize", f"NNCF: {first_line(problem)}", "try another recipe") from problem
    tensors = frozenset(name_of(point) for point in points if not point.is_weight_target_point())
    return tensors, [{name_of(point) for point in group} - {""} for group in groups]


def _pipeline(
    nncf: Any, onnx_path: Path, integers: Scheme, ignored: list[str], limit: int, bias_correction: str
) -> Any:
    """NNCF's steps of post-training quantization.

    Weights have 7 bits where u8 x s8 products saturate in 16 bits (AVX2 and AVX-512 without VNNI). What goes into a
    depthwise convolution has a range per channel. Of a network that attends, sums and the scores stay float, as NNCF
    has it for transformers; its smoothing is left out, which would change the tensors that the plan's ranges are for.
    """
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters, QuantizationParameters
    from nncf.quantization.algorithms.post_training.pipeline import create_ptq_pipeline

    return create_ptq_pipeline(
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=limit,
        fast_bias_correction=bias_correction != "full",
        model_type=nncf.ModelType.TRANSFORMER if attends(load_graph(onnx_path)) else None,
        ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if integers.weight_bits == 7 else nncf.OverflowFix.DISABLE,
            disable_bias_correction=bias_correction == "none",
            smooth_quant_alphas=AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
            weights_quantization_params=QuantizationParameters(per_channel=integers.per_channel),
        ),
    )


def _run(nncf: Any, pipeline: Any, model: Any, dataset: Any, plan: QuantPlan) -> Any:
    """nncf.quantize with the plan's ranges, and those of small weights, set between its range setting and its bias
    correction.

    nncf.quantize offers no hook there, so the steps of its pipeline are run one by one, as
    nncf/quantization/algorithms/pipeline.py and nncf/openvino/quantization/quantize_model.py (3.4.0) do.
    """
    from nncf.common.factory import build_graph
    from nncf.quantization.algorithms.pipeline import collect_statistics
    from openvino._offline_transformations import compress_quantize_weights_transformation

    (step,) = pipeline.pipeline_steps
    graph = build_graph(model)
    statistics = collect_statistics(
        pipeline.get_statistic_points_for_step(0, model, graph), model, graph, dataset
    )
    quantizer, *corrections = step
    quantized = quantizer.apply(model, graph, statistics)
    replace_ranges(quantized, plan)
    if plan.integers.weight_bits == 8:
        refine_weights(quantized)
    for correction in corrections:
        quantized = correction.apply(quantized, build_graph(quantized), statistics)
    compress_quantize_weights_transformation(quantized)
    return quantized


def _ignored(model: Any, onnx_path: Path, layers: Sequence[str]) -> list[str]:
    """OpenVINO's names of the operations that compute these ONNX nodes."""
    import onnx

    producers = _producers(model)
    graph = onnx.load(str(onnx_path), load_external_data=False).graph
    outputs = {node.name: node.output[0] for node in graph.node}
    return sorted({producers[outputs[layer]] for layer in layers if outputs.get(layer) in producers})


def _producers(model: Any) -> dict[str, str]:
    """Tensor name → friendly name of the operation that computes it: for a layer with bias, the product."""
    producers = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Result":
            names = (name for port in node.outputs() for name in port.get_names())
            producers.update(dict.fromkeys(names, product_of(node).get_friendly_name()))
    return producers
