"""Explicit Q/DQ on a float ONNX graph, where TensorRT fuses it into integer kernels.

The rules, after NVIDIA's TensorRT documentation ("Explicit Quantization", "Q/DQ Placement Recommendations"):
every convolution and matrix product reads dequantized tensors; a pair never stands between a layer and its
activation; both inputs of a residual addition are quantized, and so is what follows the activation behind it; the
inputs of a concatenation share one scale; pools and reshapes pass integers through. Activations are int8 with zero
point 0, weights int8 per output channel. A bias stays float: TensorRT refuses DequantizeLinear of int32.
LayerNormalization, Softmax and GELU stay float: TensorRT has no integer kernels for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.graph.layers import WEIGHTED
from edgekit.graph.wiring import Wiring
from edgekit.quantize import Range, affine_parameters
from edgekit.quantize.plan import united
from edgekit.quantize.planning import Settled

if TYPE_CHECKING:
    import onnx

__all__ = ["insert_pairs", "settled_ranges"]

POOLS = frozenset({"AveragePool", "GlobalAveragePool"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})

DEGENERATE = 1e-6
"""Largest magnitude below which a tensor counts as always zero."""
SAFE_EDGE = 1.0
"""What is then assumed: clipping at almost 0 would erase whatever the tensor holds on other data."""


@dataclass
class _Plan:
    """Which reads of which tensor become reads of its dequantized form, and which tensors share a scale."""

    reads: dict[str, set[tuple[str, int]]] = field(default_factory=lambda: defaultdict(set))
    shared: list[set[str]] = field(default_factory=list)

    def groups(self) -> list[set[str]]:
        """Tensors of one scale: those that meet in a Concat, joined where they meet in several."""
        joined: list[set[str]] = []
        for group in [*self.shared, *({name} for name in self.reads)]:
            touching = [tensors for tensors in joined if tensors & group]
            joined = [tensors for tensors in joined if not tensors & group]
            joined.append(group.union(*touching))
        return joined


def _plan(graph: Wiring, known: Collection[str], in_float: Collection[str]) -> _Plan:
    """Every read that has to be dequantized. `known`: float tensors that have a range."""
    plan = _Plan()
    quantizing = [node for node in graph.nodes if _wants(graph, node, in_float)]
    wanting = {node.name for node in quantizing}

    def hoist(name: str, reader: Any, position: int) -> list[str]:
        """Follow the values back through nodes that pass them on; the tensors that are quantized."""
        maker = graph.producer.get(name)
        only = all(reader.name in wanting or graph.passes(reader) for reader in graph.readers[name])
        if maker is not None and graph.passes(maker) and only and name not in graph.outputs:
            sources = [source for at in graph.moved(maker) for source in hoist(maker.input[at], maker, at)]
            if maker.op_type == "Concat":
                plan.shared.append(set(sources))
            return sources
        if name in known:
            plan.reads[name].add((reader.name, position))
            return [name]
        return []

    for node in quantizing:
        both_move = node.op_type in WEIGHTED and not any(graph.is_constant(name) for name in node.input[:2])
        for position in _positions(graph, node):
            if (
                both_move and node.input[position] in known
            ):  # queries, keys and values keep scales of their own
                plan.reads[node.input[position]].add((node.name, position))
            else:
                hoist(node.input[position], node, position)
    return plan


def _wants(graph: Wiring, node: Any, in_float: Collection[str]) -> bool:
    """Whether the node computes in integers: layers, pools over them, and residual additions of convolutions."""
    if node.name in in_float:
        return False
    if node.op_type in WEIGHTED:
        return not all(graph.is_constant(name) for name in node.input[:2])
    if node.op_type in POOLS:
        maker = graph.producer.get(node.input[0])
        return maker is not None and maker.op_type in {*CONVOLUTIONS, "Add", "Clip", "Relu"}
    if node.op_type != "Add" or any(graph.is_constant(name) for name in node.input):
        return False
    makers = [graph.producer.get(name) for name in node.input]
    return any(
        maker is not None and maker.op_type in CONVOLUTIONS and maker.name not in in_float for maker in makers
    )


def _positions(graph: Wiring, node: Any) -> list[int]:
    """Inputs that are activations and have to be int8."""
    if node.op_type in POOLS:
        return [0]
    return [at for at, name in enumerate(node.input[:2]) if not graph.is_constant(name)]


def quantized_tensors(
    model: onnx.ModelProto, known: Collection[str], in_float: Collection[str] = ()
) -> tuple[str, ...]:
    """Names of the activations that get Q/DQ, in graph order. Nodes must have names."""
    return tuple(_plan(Wiring(model), known, in_float).reads)


def settled_ranges(
    model: onnx.ModelProto, ranges: Mapping[str, Range], in_float: Collection[str] = ()
) -> Settled:
    """The ranges with one for all tensors of a scale, and a safe one where calibration saw zeros only."""
    groups = _plan(Wiring(model), ranges.keys(), in_float).groups()
    settled, shared = united(ranges, groups)
    empty, constant = [], []
    for group in groups:
        values = settled[min(group)]
        if max(abs(values.low), abs(values.high)) < DEGENERATE:
            empty += sorted(group)
            settled.update(dict.fromkeys(group, Range(-SAFE_EDGE, SAFE_EDGE)))
        elif values.low == values.high:
            constant += sorted(group)
    notes = []
    if empty:
        notes.append(
            f"Always zero in the calibration samples, so a range of ±{SAFE_EDGE:g} is assumed: {_few(empty)}."
        )
    if constant:
        notes.append(
            f"Only one value in the calibration samples, a range that may be too narrow: {_few(constant)}; "
            "calibrate with more, and more varied, samples."
        )
    return Settled(settled, shared, tuple(notes))


def insert_pairs(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    *,
    in_float: Collection[str] = (),
    per_channel: bool = True,
    weights: Literal["integers", "pairs"] = "pairs",
) -> onnx.ModelProto:
    """A copy with Q/DQ of settled `ranges`. Layers named in `in_float` stay float; nodes must have names of their own.

    `weights`: "pairs" keeps float weights behind QuantizeLinear and DequantizeLinear, which every TensorRT reads
    (8.x takes no int8 constants there); "integers" stores int8 weights behind DequantizeLinear alone (10 and later).
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Wiring(copy)
    plan = _plan(graph, ranges.keys(), in_float)
    before: list[Any] = []  # pairs of network inputs
    behind: dict[str, list[Any]] = defaultdict(list)
    for name, reads in plan.reads.items():
        scale = affine_parameters(ranges[name], -128, 127, symmetric=True).scale
        nodes = _pair(copy, name, np.array(scale, np.float32), None)
        maker = graph.producer.get(name)
        (behind[maker.name] if maker is not None else before).extend(nodes)
        for reader in {node.name: node for node in graph.readers[name]}.values():
            for at, read in enumerate(reader.input):
                if read == name and (reader.name, at) in reads:
                    reader.input[at] = f"{name}/dequantized"
    for node in graph.nodes:
        if node.op_type in WEIGHTED and node.name not in in_float:
            before.extend(_quantize_weights(copy, graph, node, per_channel, weights))
    ordered = [*before]
    for node in graph.nodes:
        ordered.extend([node, *behind[node.name]])
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del copy.graph.node[:]
    copy.graph.node.extend(made)
    _drop_unused(copy)
    del copy.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(copy)


def _few(names: list[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def _pair(model: onnx.ModelProto, name: str, scale: Any, axis: int | None) -> list[Any]:
    """QuantizeLinear and DequantizeLinear from tensor `name` to `name/dequantized`; adds their constants."""
    from onnx import helper

    given = _grid(model, name, scale)
    extra = {} if axis is None else {"axis": axis}
    quantized = f"{name}/quantized"
    return [
        helper.make_node("QuantizeLinear", [name, *given], [quantized], name=f"{name}/quantize", **extra),
        helper.make_node(
            "DequantizeLinear",
            [quantized, *given],
            [f"{name}/dequantized"],
            name=f"{name}/dequantize",
            **extra,
        ),
    ]


def _grid(model: onnx.ModelProto, name: str, scale: Any) -> list[str]:
    """Scale and zero point as constants of the graph; their names."""
    from onnx import numpy_helper

    names = [f"{name}/scale", f"{name}/zero_point"]
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(scale, np.float32), names[0]))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(np.shape(scale), np.int8), names[1]))
    return names


def _quantize_weights(
    model: onnx.ModelProto, graph: Wiring, node: Any, per_channel: bool, form: Literal["integers", "pairs"]
) -> Iterator[Any]:
    """Q/DQ on the node's constant weights, which become its own; the bias stays as it is."""
    from onnx import helper, numpy_helper

    constant = [at for at, name in enumerate(node.input[:2]) if graph.is_constant(name)]
    if len(constant) != 1:
        return
    at = constant[0]
    values = np.asarray(graph.array(node.input[at]), np.float32)
    axis = _channel_axis(node, values.ndim) if per_channel and at == 1 else None
    scale = weight_scale(values, axis)
    name = f"{node.name}/weight"
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    node.input[at] = f"{name}/dequantized"
    if form == "pairs":
        model.graph.initializer.append(numpy_helper.from_array(values, name))
        yield from _pair(model, name, scale, axis)
        return
    integers = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
    model.graph.initializer.append(numpy_helper.from_array(integers, f"{name}/quantized"))
    extra = {} if axis is None else {"axis": axis}
    inputs = [f"{name}/quantized", *_grid(model, name, scale)]
    yield helper.make_node(
        "DequantizeLinear", inputs, [f"{name}/dequantized"], name=f"{name}/dequantize", **extra
    )


def _channel_axis(node: Any, rank: int) -> int | None:
    """Axis of the output channels; None for grouped transposed convolutions, whose groups share that axis."""
    settings = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "MatMul":
        return rank - 1 if rank >= 2 else None
    if node.op_type == "ConvTranspose" and settings.get("group", 1) > 1:
        return None
    return 0 if settings.get("transB") else WEIGHTED[node.op_type]


def weight_scale(values: Any, axis: int | None) -> Any:
    """Largest magnitude over 127, float32: one, or one per index of `axis`. Zeros get the scale of 1.0."""
    others = None if axis is None else tuple(other for other in range(values.ndim) if other != axis)
    edge = np.abs(values).max(axis=others)
    return np.asarray(np.where(edge > 0, edge, 1.0), np.float32) / np.float32(127)


def _drop_unused(model: onnx.ModelProto) -> None:
    """Remove constants that nothing reads any more."""
    used = {name for node in model.graph.node for name in node.input} | {
        output.name for output in model.graph.output
    }
    kept = [constant for constant in model.graph.initializer if constant.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
