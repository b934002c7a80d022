"""The units of a network: its ONNX graph as a runtime fuses it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UserError
from edgekit.graph.attention import attends
from edgekit.graph.layers import name_nodes
from edgekit.graph.proto import read_model
from edgekit.graph.rewrites import means_to_pooling
from edgekit.latency.attention import AttentionReader, GraphAttention
from edgekit.latency.attention_parts import is_gathered, is_written
from edgekit.latency.functions import function_family, moving_family, pointwise_family, vanishes
from edgekit.latency.fusing import FUSING, Fusing
from edgekit.latency.naming import layer_name, told_once
from edgekit.latency.small import SMALL_SHARE, largest_product, when_small
from edgekit.latency.unit import Family, Kind, Unit, UnitPrecision
from edgekit.latency.wires import Wires
from edgekit.quantize.stream import between_products
from edgekit.types import BackendName

if TYPE_CHECKING:
    import onnx

__all__ = ["FREE", "NetworkUnits", "unit_graph", "units_of"]

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
FREE = frozenset(
    {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Constant", "Cast", "Shape"}
)
"""Nodes that move nothing in memory."""

FUNCTIONS = frozenset({"LayerNormalization", "Softmax", "ReduceMean", "Gelu"})
ACTIVATIONS = frozenset({"Relu", "Clip", "Sigmoid", "HardSwish", "HardSigmoid", "LeakyRelu", "Tanh"})
POOLS = {"MaxPool": "maxpool", "GlobalAveragePool": "average"}


@dataclass(frozen=True)
class NetworkUnits:
    """The units in the order of the graph. `unmeasured`: nodes that take time and are no unit, as `Slice /a/Slice`.

    `otherwise`: what some of these become in narrower networks, in the other precision, at the largest widths that have
    it: which matrix products are small hangs on the network. `carried`: results of nodes that are no unit → the tensors
    that they have the channels of.
    """

    units: tuple[Unit, ...]
    unmeasured: tuple[str, ...]
    otherwise: tuple[Unit, ...] = ()
    carried: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def to_measure(self) -> tuple[Unit, ...]:
        """All whose widths a table has to reach up to, so that it tells the time of narrower networks too."""
        return (*self.units, *self.otherwise)


def units_of(model: Path, runtime: BackendName, precision: UnitPrecision) -> NetworkUnits:
    """What `runtime` runs at once of the float network at `model` when it is built in `precision`.

    Raises ModelError for what is no ONNX file or has open sizes, UserError for a runtime that is not in FUSING.
    """
    if runtime not in FUSING:
        raise UserError(f'layers of "{runtime}" are not timed', allowed=", ".join(FUSING))
    return _Reader(unit_graph(model), FUSING[runtime], precision).read()


def unit_graph(model: Path) -> onnx.ModelProto:
    """The graph that units are read from; nodes have the names that quantization knows them by. Raises ModelError."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(read_model(model), data_prop=True)
    name_nodes(graph)
    means_to_pooling(graph)
    return onnx.shape_inference.infer_shapes(graph, data_prop=True)


class _Reader:
    """Walks a graph once. `taken`: nodes that a unit runs already."""

    def __init__(self, model: onnx.ModelProto, fusing: Fusing, precision: UnitPrecision) -> None:
        self.wires = Wires(model)
        self.shapes = self.wires.shapes
        self.fusing = fusing.in_network(attends=attends(model))
        self.precision = precision
        self.stream = {layer.name for layer in between_products(model)} if fusing.stream_in_float else set()
        self.taken: set[int] = set()
        self.attentions: dict[int, GraphAttention] = {}
        reader = AttentionReader(self.wires)
        for attention in reader.read() if fusing.attends else ():
            if fusing.attends_by_parts and not is_written(reader, attention):
                continue
            last = id(attention.nodes[1])  # all that it reads stands before
            self.attentions[last] = attention
            self.taken.update(id(node) for node in attention.nodes if id(node) != last)

    def read(self) -> NetworkUnits:
        units, unmeasured = [], []
        carried = {
            str(node.output[0]): tuple(self.wires.computed(node))
            for node in self.wires.nodes
            if self.keeps_channels(node)
        }
        for node in self.wires.nodes:
            if id(node) in self.taken or node.op_type in FREE or self.wires.is_constant(node):
                continue
            unit = self.unit(node)
            if unit is not None:
                units.append(unit)
            elif id(node) not in self.taken:
                unmeasured.append(f"{node.op_type} {node.name}")
        limit = SMALL_SHARE * sum(unit.macs for unit in units) if self.fusing.small_in_float else 0.0
        once = told_once(units)
        kept = tuple(self.left_in_float(unit, limit) for unit in once)
        otherwise = [*when_small(kept, limit), *(unit for unit in once if unit not in kept and unit.macs)]
        return NetworkUnits(kept, tuple(unmeasured), tuple(otherwise), carried)

    def keeps_channels(self, node: Any) -> bool:
        """Whether a node that is no unit hands channels on: it moves nothing, or sets tokens beside others."""
        if node.op_type in FREE:
            return len(self.wires.computed(node)) == 1
        if node.op_type == "Transpose":
            return vanishes(self.wires, node, self.fusing)
        rank = len(self.shapes.of(node.output[0]))
        return (
            node.op_type == "Concat" and rank == 3 and int(self.shapes.attribute(node, "axis", 0)) % rank < 2
        )

    def left_in_float(self, unit: Unit, limit: float) -> Unit:
        """In float where this runtime leaves it so: a matrix product of less MACs, or a sum of a transformer."""
        family = unit.family
        if family.kind in ("linear", "product", "attention") and largest_product(unit) < limit:
            return unit.in_precision("fp32")
        if family.kind not in ("add", "pointwise") or self.stream.isdisjoint(unit.nodes):
            return unit
        # A scale stands between products in int8, a sum between sums.
        rounded = self.fusing.rounds_functions and self.precision == "int8" and family.operand == "scalar"
        return replace(unit, family=replace(family, precision="fp32", rounded=family.rounded or rounded))

    def unit(self, node: Any) -> Unit | None:
        """The unit that begins with this node; None where none does."""
        if node.op_type == "Conv":
            return self.convolution(node)
        if id(node) in self.attentions:
            return self.attention(self.attentions[id(node)])
        if node.op_type in ("Gemm", "MatMul"):
            return self.product(node)
        if node.op_type in POOLS and len(self.shapes.of(node.input[0])) == 4:
            kind: Any = POOLS[node.op_type]
            kernel, stride, padding = self.window(node, self.shapes.of(node.input[0]))
            return self.plain(node, kind, kernel=kernel, stride=stride, padding=padding)
        if node.op_type in FUNCTIONS:
            return self.sized(function_family(self.wires, node, self.precision, self.fusing), [node])
        if node.op_type in ("Transpose", "Gather"):
            turns = self.fusing.single_head_as_layer and self.wires.turns_for_product(node)
            if vanishes(self.wires, node, self.fusing) or turns:
                self.taken.add(id(node))
                return None
            return self.sized(moving_family(self.wires, node, self.precision, self.fusing), [node])
        if node.op_type in ("Add", "Mul", "Sub", "Div"):
            return self.elementwise(node)
        if node.op_type in ACTIVATIONS:
            return self.plain(node, "pointwise", activation=node.op_type)
        return None

    def convolution(self, node: Any) -> Unit | None:
        shape, weight = self.shapes.of(node.input[0]), self.shapes.of(node.input[1])
        groups = int(self.shapes.attribute(node, "group", 1))
        if len(shape) != 4 or node.input[1] not in self.shapes.weights:
            return None
        if any(value != 1 for value in self.shapes.attribute(node, "dilations", [])):
            return None
        kernel, stride, padding = self.window(node, shape)
        depthwise = groups > 1 and groups == shape[1] == weight[0]
        nodes, activation, residual = self.absorbed(node)
        family = Family(
            "depthwise" if depthwise else "conv", (shape[2], shape[3]), self.precision, kernel, stride, padding,
            1 if depthwise else groups, activation, residual is not None,
        )  # fmt: skip
        return self.made(family, shape[1], weight[0], nodes, node.input[1], residual)

    def product(self, node: Any) -> Unit | None:
        left, right = self.shapes.of(node.input[0]), self.shapes.of(node.input[1])
        if not left or len(right) < 2:
            return None
        if node.input[1] not in self.shapes.weights:
            heads = max(math.prod(right[:-2]), 1)
            turned = self.wires.turned_for(node) if self.fusing.single_head_as_layer else None
            family = Family(
                "product", (math.prod(left[:-1]) // heads, 1), self.precision, groups=heads,
                axes=() if turned is None else (1, 0),
            )  # fmt: skip
            nodes = [node] if turned is None else [node, turned]
            if self.precision in self.fusing.scales:
                after = self.wires.scale_of(self.wires.only_reader(node))
                # The unit's result is that of its last node.
                nodes += [*self.wires.scales_before(node), *([] if after is None else [after])]
            return self.made(family, heads * right[-2], heads * right[-1], nodes, "", None)
        turned = bool(self.shapes.attribute(node, "transB", 0))
        channels_in, channels_out = (right[1], right[0]) if turned else (right[-2], right[-1])
        nodes, activation, _ = self.absorbed(node, bias=True, residual=False)
        family = Family("linear", (math.prod(left[:-1]), 1), self.precision, activation=activation)
        return self.made(family, channels_in, channels_out, nodes, node.input[1], None)

    def attention(self, told: GraphAttention) -> Unit:
        self.taken.update(id(node) for node in told.nodes)
        form = told.form
        if self.fusing.attends_by_parts:
            in_float = self.precision == "int8" and self.fusing.functions_in_float
            form = replace(form, gathered=is_gathered(told), float_functions=in_float)
        return Unit(
            Family("attention", told.size, self.precision, groups=told.heads, attention=form),
            told.key_width,
            told.value_width,
            nodes=tuple(node.name for node in told.nodes),
            inputs=told.inputs,
            output=told.output,
        )

    def absorbed(
        self, node: Any, *, bias: bool = False, residual: bool = True
    ) -> tuple[list[Any], str, str | None]:
        """The nodes that run with this one; the activation among them; the other tensor that is added."""
        nodes, added = [node], None
        after = self.wires.only_reader(node)
        if bias and after is not None and after.op_type == "Add" and set(after.input) & self.shapes.weights:
            nodes.append(after)
            after = self.wires.only_reader(after)
        if bias and self.precision in self.fusing.gelu:
            gelu = self.wires.gelu_of(nodes[-1].output[0])
            gelu = gelu or ([after] if after is not None and after.op_type == "Gelu" else [])
            if gelu:
                return [*nodes, *gelu], "Gelu", None
        if residual and after is not None and self.precision in self.fusing.residual and self.adds_two(after):
            other = next(name for name in after.input if name != nodes[-1].output[0])
            if not self.adds_itself(other, nodes[-1]):
                added = str(other)
                nodes.append(after)
                after = self.wires.only_reader(after)
        if after is not None and after.op_type in FUSED_ACTIVATIONS:
            nodes.append(after)
            return nodes, str(after.op_type), added
        return nodes, "", added

    def adds_itself(self, tensor: str, node: Any) -> bool:
        """Whether a later convolution makes a tensor, and thus does the addition."""
        maker = self.wires.makers.get(tensor)
        if maker is None or self.wires.places[id(maker)] < self.wires.places[id(node)]:
            return False
        return bool(maker.op_type == "Conv") and self.wires.only_reader(maker) is not None

    def adds_two(self, node: Any) -> bool:
        """Whether a node adds two activations of one shape."""
        shapes = {self.shapes.of(name) for name in node.input}
        return (
            node.op_type == "Add"
            and not set(node.input) & self.shapes.weights
            and len(set(node.input)) == 2
            and len(shapes) == 1
        )

    def elementwise(self, node: Any) -> Unit | None:
        """An addition of two activations, or an operation with a stored vector."""
        if self.adds_two(node):
            after = self.wires.only_reader(node)
            fused = [after] if after is not None and after.op_type in FUSED_ACTIVATIONS else []
            nodes = [node, *fused]
            size, channels = self.shapes.size_and_channels(node.input[0])
            family = Family("add", size, self.precision, activation=fused[0].op_type if fused else "")
            return self.made(family, channels, channels, nodes, "", None)
        live = self.wires.computed(node)
        if len(live) != 1:
            return None
        gelu = self.wires.gelu_of(live[0])
        if gelu:
            return self.sized(function_family(self.wires, gelu[0], self.precision, self.fusing), gelu)
        if self.precision in self.fusing.scales and self.wires.scales_product(node):
            self.taken.add(id(node))  # that product's unit names it
            return None
        return self.sized(pointwise_family(self.wires, node, self.precision), [node])

    def sized(self, known: tuple[Family, int] | None, nodes: list[Any]) -> Unit | None:
        """The unit of these nodes that keeps its channels; None where its family is not known."""
        if known is None:
            return None
        family, channels = known
        return self.made(family, channels, channels, nodes, "", None)

    def plain(self, node: Any, kind: Kind, **settings: Any) -> Unit | None:
        """A unit of one node that keeps its channels, of an image or of tokens."""
        size, channels = self.shapes.size_and_channels(node.input[0])
        return (
            self.sized((Family(kind, size, self.precision, **settings), channels), [node])
            if channels
            else None
        )

    def made(
        self,
        family: Family,
        channels_in: int,
        channels_out: int,
        nodes: list[Any],
        weight: str,
        added: str | None,
    ) -> Unit:
        self.taken.update(id(node) for node in nodes)
        inputs = (self.read_by(nodes[0]), *([added] if added else []))
        if family.kind in ("add", "product"):
            inputs = tuple(str(name) for name in nodes[0].input)
        return Unit(
            family, channels_in, channels_out, weight, self.layer(nodes, weight) if weight else "",
            tuple(node.name for node in nodes), inputs, str(nodes[-1].output[0]),
        )  # fmt: skip

    def read_by(self, node: Any) -> str:
        """The first tensor that a node reads and that is not stored; the first of all where all are."""
        return next((str(name) for name in node.input if name not in self.shapes.weights), str(node.input[0]))

    def layer(self, nodes: list[Any], weight: str) -> str:
        """See `layer_name`; parameters that several layers share, as equal ones are stored, name none."""
        biases = [
            *nodes[0].input[2:],
            *(nodes[1].input if len(nodes) > 1 and nodes[1].op_type == "Add" else ()),
        ]
        own = [
            name
            for name in (weight, *biases)
            if len(self.wires.readers[name]) == 1 and name in self.shapes.weights
        ]
        bias = next((name for name in own if name.endswith(".bias")), "")
        return layer_name(nodes[0].name, weight if weight in own else "", bias)

    def window(self, node: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """Kernel, stride and padding; a pooling over the whole image has that as its kernel."""
        if node.op_type == "GlobalAveragePool":
            return (1, 1), (1, 1), (0, 0, 0, 0)
        kernel = self.shapes.attribute(node, "kernel_shape", None) or self.shapes.of(node.input[1])[2:]
        stride = self.shapes.attribute(node, "strides", [1, 1])
        return tuple(kernel), tuple(stride), tuple(self.shapes.attribute(node, "pads", [0, 0, 0, 0]))
