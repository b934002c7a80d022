"""What TensorRT says of a network that is to become INT8; the plan is made in `edgekit.quantize.planning`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.artifact import installed_versions
from edgekit.backends.tensorrt.operators import missing_operations
from edgekit.backends.tensorrt.qdq import settled_ranges
from edgekit.graph.layers import name_nodes
from edgekit.graph.opset import decompose, in_opset
from edgekit.graph.rewrites import means_to_pooling
from edgekit.graph.taps import load_graph
from edgekit.quantize import Scheme
from edgekit.quantize.apart import mixed_scales
from edgekit.quantize.measured import MeasuredNetwork
from edgekit.quantize.plan import Part
from edgekit.quantize.planning import Refusal, Settled, named_by_recipe, refused_keys, unique_layers
from edgekit.quantize.stream import between_products
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.backends.tensorrt.build_recipe import Toolkit
    from edgekit.quantize import Recipe

__all__ = ["TensorRtPlanner", "integers_of", "prepared"]

FLOAT_OPS = frozenset({"Gelu", "LayerNormalization", "Softmax"})
"""TensorRT has no integer kernels for them (TensorRT documentation, "Working with Quantized Types")."""

STRONGLY_TYPED: Mapping[str, Refusal] = {
    precision: Refusal(
        "its networks are strongly typed, and what is in float is written as fp32", "leave float_as out"
    )
    for precision in ("fp16", "bf16")
}
WEAKLY_TYPED: Mapping[str, Refusal] = {
    "fp32": Refusal("it chooses fp16 or fp32 for each layer in float itself", "use fp16, which allows both"),
    "bf16": Refusal("it is asked for fp16 beside int8, not for bf16", "use fp16, or leave float_as out"),
}
"""By whether precision stands in the network or is the builder's choice."""


@dataclass(frozen=True)
class TensorRtPlanner:
    """See `edgekit.quantize.planning.Planner`. `onnx_path` is the variant's."""

    onnx_path: Path
    kit: Toolkit

    @property
    def runtime(self) -> str:
        return "TensorRT"

    def refused(self, recipe: Recipe) -> Mapping[str, Refusal]:
        own = STRONGLY_TYPED if self.kit.strong else WEAKLY_TYPED
        return refused_keys(recipe, trained=False, float_as=own)

    def depends_on(self) -> Mapping[str, object]:
        return {
            "versions": installed_versions("tensorrt", ("onnx",), ("onnxsim",)),
            "opset": self.kit.opset,
            "missing": sorted(missing_operations(self.kit.known)),
        }

    def integers(self, recipe: Recipe) -> Scheme:
        return integers_of(recipe)

    def network(self, folder: Path) -> Path:
        import onnx

        path = folder / "prepared.onnx"
        onnx.save(prepared(self.onnx_path, self.kit), str(path))
        return path

    def in_float(self, measured: MeasuredNetwork, recipe: Recipe) -> tuple[FloatLayer, ...]:
        model = measured.model
        return unique_layers(
            *named_by_recipe(recipe, model, load_graph(self.onnx_path)),
            *mixed_scales(measured, recipe, symmetric=True),
            *between_products(model),
            *(FloatLayer(node.name, "runtime") for node in model.graph.node if node.op_type in FLOAT_OPS),
        )

    def cannot_keep(self, model: onnx.ModelProto) -> frozenset[str]:
        return frozenset()

    def settle(self, measured: MeasuredNetwork, recipe: Recipe, in_float: tuple[FloatLayer, ...]) -> Settled:
        names = frozenset(layer.name for layer in in_float)
        return settled_ranges(measured.model, measured.ranges(recipe, symmetric=True), names)

    def leaves(self, recipe: Recipe) -> tuple[Part, ...]:
        return ()


def integers_of(recipe: Recipe) -> Scheme:
    """TensorRT's, with zero point 0, with the recipe's granularity."""
    return Scheme("int8", 8, recipe.granularity == "per-channel", symmetric=True)


def prepared(path: Path, kit: Toolkit) -> onnx.ModelProto:
    """The float graph as the board's parser takes it: batch normalization folded, the operations missing there
    written in primitive ones, means over the image as pooling, an opset of at most the parser's; nodes are named.

    Raises StageError that names what cannot be expressed.
    """
    import onnx

    model = load_graph(path)
    if any(node.op_type == "BatchNormalization" for node in model.graph.node):
        from edgekit.graph.proto import simplify

        model = simplify(model)
    decompose(model, missing_operations(kit.known))
    model = in_opset(onnx.shape_inference.infer_shapes(model, data_prop=True), kit.opset)
    means_to_pooling(model)
    name_nodes(model)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)
