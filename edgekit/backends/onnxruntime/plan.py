"""What ONNX Runtime says of a network that is to become INT8; the plan is made in `edgekit.quantize.planning`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.onnxruntime.lint import LOWEST_OPSET
from edgekit.errors import StageError, in_one_line
from edgekit.graph.layers import ACTIVATIONS, float_tensors, weighted_layers
from edgekit.graph.proto import opset_of
from edgekit.graph.rewrites import means_to_pooling
from edgekit.graph.tables import look_ups
from edgekit.graph.taps import load_graph
from edgekit.graph.wiring import Wiring
from edgekit.quantize import Scheme
from edgekit.quantize.apart import mixed_scales
from edgekit.quantize.measured import MeasuredNetwork
from edgekit.quantize.plan import Part, followed
from edgekit.quantize.planning import Refusal, Settled, named_by_recipe, refused_keys, unique_layers
from edgekit.quantize.stream import between_products
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.hardware import Int8Rule
    from edgekit.quantize import Recipe

__all__ = ["QUANTIZED_OPS", "OnnxRuntimePlanner", "excluded_nodes", "integers_of", "prepared"]

QUANTIZED_OPS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul",
    "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip
"""Ops that get Q/DQ: those with an integer kernel on CPUs, and those that move data and pass integers through.

Softmax and the normalizations stay float: their integer kernels lose accuracy and save nothing.
"""

SAME_SCALE_OPS = frozenset({
    "AveragePool", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Ops whose outputs take the scale of their input (onnxruntime/quantization/registry.py, QDQDirect8BitOp and its
like); Pad too, where it pads with zeros."""


@dataclass(frozen=True)
class OnnxRuntimePlanner:
    """See `edgekit.quantize.planning.Planner`. `onnx_path` is the variant's; `rule` the target's for these features."""

    onnx_path: Path
    rule: Int8Rule
    versions: Mapping[str, str]

    @property
    def runtime(self) -> str:
        return "ONNX Runtime"

    def refused(self, recipe: Recipe) -> Mapping[str, Refusal]:
        return refused_keys(recipe)

    def depends_on(self) -> Mapping[str, object]:
        return {
            "versions": self.versions,
            "ops": QUANTIZED_OPS,
            "same scale": sorted(SAME_SCALE_OPS),
            "tables": "rows in int8",
        }

    def integers(self, recipe: Recipe) -> Scheme:
        return integers_of(self.rule, recipe)

    def network(self, folder: Path) -> Path:
        import onnx

        path = folder / "prepared.onnx"
        model = prepared(self.onnx_path)
        _check_quantizable(model)
        onnx.save(model, str(path))
        return path

    def in_float(self, measured: MeasuredNetwork, recipe: Recipe) -> tuple[FloatLayer, ...]:
        model = measured.model
        named = named_by_recipe(recipe, model, load_graph(self.onnx_path))
        kept = unique_layers(*named, *mixed_scales(measured, recipe), *between_products(model))
        names, floats = {layer.name for layer in kept}, set(float_tensors(model))
        names.update(look_ups(model))
        unfit = unfit_nodes(model)
        return (
            *kept,
            *(
                FloatLayer(node.name, "runtime")
                for node in model.graph.node
                if (node.op_type not in QUANTIZED_OPS or node.name in unfit)
                and node.name not in names
                and floats & set(node.output)
            ),
        )

    def cannot_keep(self, model: onnx.ModelProto) -> frozenset[str]:
        return frozenset()

    def settle(self, measured: MeasuredNetwork, recipe: Recipe, in_float: tuple[FloatLayer, ...]) -> Settled:
        pairs = _same_scale(
            measured.model, excluded_nodes(measured.model, [layer.name for layer in in_float])
        )
        names = {layer.name for layer in in_float}
        tables = tuple(name for name in look_ups(measured.model) if name not in names)
        return Settled(*followed(measured.ranges(recipe), pairs), tables=tables)

    def leaves(self, recipe: Recipe) -> tuple[Part, ...]:
        return ()


def integers_of(rule: Int8Rule, recipe: Recipe) -> Scheme:
    """Those of a target's rule, with the recipe's granularity."""
    return Scheme(rule.activation, rule.weight_bits, recipe.granularity == "per-channel", weight=rule.weight)


def prepared(path: Path) -> onnx.ModelProto:
    """The float graph at an opset with per-channel Q/DQ, rewritten for integer kernels, shapes inferred.

    Raises StageError when its opset cannot be raised.
    """
    import onnx

    model = load_graph(path)
    opset = opset_of(model)
    if opset < LOWEST_OPSET:
        try:
            notes = list(model.metadata_props)
            model = onnx.version_converter.convert_version(model, LOWEST_OPSET)
            del model.metadata_props[:]
            model.metadata_props.extend(notes)  # trained ranges among them
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise StageError(
                "export",
                f"opset {opset} cannot be raised to {LOWEST_OPSET}: {in_one_line(error)}",
                "export with opset 17",
            ) from error
    means_to_pooling(model)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def excluded_nodes(model: onnx.ModelProto, in_float: Collection[str]) -> frozenset[str]:
    """Nodes that get no Q/DQ so that these stay float: their activations too, which run as one with them."""
    results = {
        layer.result
        for layer in weighted_layers(model)
        if layer.name in in_float and layer.result != layer.output
    }
    fused = (n.name for n in model.graph.node if n.op_type in ACTIVATIONS and n.output[0] in results)
    return frozenset((*in_float, *fused, *unfit_nodes(model)))


def unfit_nodes(model: onnx.ModelProto) -> frozenset[str]:
    """Nodes that ONNX Runtime's quantizer stumbles over though it knows the operator.

    What a Cast makes gets no range; a weight that two layers read, one of them transposed, has two channel axes.
    """
    casts = {output for node in model.graph.node if node.op_type == "Cast" for output in node.output}
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    axes: dict[str, tuple[str, int]] = {}
    unfit = set()
    for node in model.graph.node:
        if node.op_type in QUANTIZED_OPS and casts & set(node.input):
            unfit.add(node.name)
        turned = next((attribute.i for attribute in node.attribute if attribute.name == "transB"), 0)
        use = (node.op_type, turned)
        if any(axes.setdefault(name, use) != use for name in weights & set(node.input)):
            unfit.add(node.name)
    return frozenset(unfit)


def _check_quantizable(model: onnx.ModelProto) -> None:
    """Raises StageError when there is no layer with weights in float32."""
    import onnx

    integer = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm")
    if any(node.op_type in integer for node in model.graph.node):
        raise StageError("quantize", "the network is quantized already", "give the float32 network")
    halves = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    if any(
        halves & set(node.input) for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")
    ):
        raise StageError("quantize", "the network has weights in float16", "give the float32 network")


def _same_scale(model: onnx.ModelProto, excluded: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Input and output of nodes that pass their input's scale on, as ONNX Runtime's quantizer walks the graph: only
    behind a node that it has quantized."""
    graph, quantized = Wiring(model), set[str]()
    for node in graph.nodes:
        if node.op_type not in QUANTIZED_OPS or node.name in excluded:
            continue
        passes = node.op_type in SAME_SCALE_OPS or (node.op_type == "Pad" and graph.passes(node))
        if passes and (node.input[0] in quantized or node.op_type in ("Pad", "Split")):
            yield from ((node.input[0], output) for output in node.output)
        if not passes or node.input[0] in quantized or node.op_type in ("Pad", "Split"):
            quantized.update(node.input, node.output)
