"""The units of a transformer, as each runtime fuses and rounds it, and copies of them that it runs so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.latency import NetworkUnits, Unit, units_of
from edgekit.latency.grid import first_points
from edgekit.latency.onnx_layers import UNSIGNED, write_onnx
from edgekit.latency.precisions import precision_graph
from edgekit.latency.unit import Family, UnitPrecision
from edgekit.latency.units import FREE, unit_graph
from edgekit.latency.wholes import fewer_heads, random_networks
from edgekit.model.export import export_onnx
from edgekit.testing.networks import TinyTransformer
from edgekit.types import BackendName

COPIES = 3
RUNTIMES: tuple[BackendName, ...] = ("onnxruntime", "openvino", "litert")
EXAMPLE = (np.zeros((1, 1, 8, 8), np.float32),)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("transformer") / "network.onnx"
    export_onnx(TinyTransformer().eval(), EXAMPLE, path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_node_that_takes_time_is_in_one_unit(
    transformer: Path, runtime: BackendName, precision: UnitPrecision
) -> None:
    network = units_of(transformer, runtime, precision)
    named = Counter(name for unit in network.units for name in unit.nodes)
    graph = unit_graph(transformer).graph
    timed = {node.name for node in graph.node if node.op_type not in FREE}
    moved = {
        node.name for node in graph.node if node.op_type in FREE
    }  # an attention runs those between its parts
    gone = {"/Transpose"} if runtime == "litert" else set()  # its images have their channels last
    assert network.unmeasured == ()
    assert set(named) - moved == timed - gone
    assert set(named.values()) == {1}


def kinds(network: NetworkUnits) -> list[str]:
    return [unit.family.kind for unit in network.units]


def precisions(network: NetworkUnits, *wanted: str) -> set[str]:
    return {unit.family.precision for unit in network.units if unit.family.kind in wanted}


def test_litert_has_sums_and_functions_of_an_int8_transformer_in_float(transformer: Path) -> None:
    network = units_of(transformer, "litert", "int8")
    functions = [unit.family for unit in network.units if unit.family.kind in ("norm", "softmax", "average")]
    functions += [unit.family for unit in network.units if unit.family.activation == "Gelu"]
    assert {(family.precision, family.rounded) for family in functions} == {("fp32", True)}
    sums = [unit.family for unit in network.units if unit.family.kind == "add"]
    assert {(family.precision, family.rounded) for family in sums} == {("fp32", False)}
    assert precisions(network, "product", "linear", "slice", "transpose") == {"int8"}


def test_onnx_runtime_rounds_around_functions_that_it_has_in_float(transformer: Path) -> None:
    network = units_of(transformer, "onnxruntime", "int8")
    functions = [unit.family for unit in network.units if unit.family.kind in ("norm", "softmax", "slice")]
    assert {(family.precision, family.rounded) for family in functions} == {("fp32", True)}
    gelu = next(unit.family for unit in network.units if unit.family.activation == "Gelu")
    assert (gelu.kind, gelu.precision, gelu.rounded) == ("pointwise", "fp32", True)
    assert precisions(network, "add") == {"fp32"}
    assert precisions(network, "product", "linear") == {"int8"}


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [(runtime, precision) for runtime in RUNTIMES for precision in ("fp32", "int8")],
)
def test_scales_are_those_of_an_attention(
    transformer: Path, runtime: BackendName, precision: UnitPrecision
) -> None:
    network = units_of(transformer, runtime, precision)
    assert not any(unit.family.operand == "scalar" for unit in network.units)
    products = [unit.family.kind for unit in network.units if unit.family.kind in ("attention", "product")]
    assert products == ["attention"]


def test_openvino_runs_a_gelu_within_the_layer_before(transformer: Path) -> None:
    network = units_of(transformer, "openvino", "int8")
    fused = [unit for unit in network.units if unit.family.activation == "Gelu"]
    assert [unit.family.kind for unit in fused] == ["linear"]
    assert "pointwise" in kinds(network)  # the places
    assert "Gelu" not in {unit.family.activation for unit in network.units if unit.family.kind == "pointwise"}


def test_functions_and_moves_are_not_chosen_a_precision(transformer: Path) -> None:
    """They are several nodes or none that calculates: to name one of them would leave the rest in integers."""
    for runtime in RUNTIMES:
        graph = precision_graph(transformer, runtime)
        wanted = {unit.family.kind for unit in graph.wanted()}
        assert not wanted & {"norm", "softmax", "transpose", "slice"}, runtime
        ops = {node.name: node.op_type for node in unit_graph(transformer).graph.node}
        named = [
            {ops[name] for name in nodes}
            for unit, nodes in zip(graph.units, graph.nodes, strict=True)
            if unit is not None and unit.family.kind in ("linear", "product")
        ]
        assert set().union(*named) <= {"Gemm", "MatMul", "Add"}, runtime


def test_widths_of_a_product_are_the_same_in_each_head() -> None:
    product = Unit(Family("product", (16, 1), "fp32", groups=3), 72, 48)
    assert {unit.channels_in for unit in first_points([product])} == {24, 48, 72}
    assert {unit.channels_out for unit in first_points([product])} == {24, 48}


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        (Unit(Family("linear", (16, 1), "int8"), 32, 24), {"QGemm": COPIES, "QuantizeLinear": 1}),
        (
            Unit(Family("product", (16, 1), "int8", groups=4), 32, 64),
            {"QLinearMatMul": COPIES, "QuantizeLinear": 1},
        ),
        (Unit(Family("product", (16, 1), "fp32", groups=4), 32, 64), {"MatMul": COPIES}),
        (Unit(Family("norm", (16, 1), "fp32", rounded=True), 32, 32),
         {"LayerNormalization": COPIES, "QuantizeLinear": COPIES + 1, "DequantizeLinear": COPIES + 1}),
        (Unit(Family("norm", (16, 1), "fp32"), 32, 32), {"LayerNormalization": COPIES}),
        (Unit(Family("softmax", (64, 1), "fp32"), 16, 16), {"Softmax": COPIES}),
        (Unit(Family("softmax", (64, 1), "fp32", rounded=True), 16, 16), {"QLinearSoftmax": COPIES}),
        (Unit(Family("pointwise", (16, 1), "fp32", activation="Gelu"), 64, 64), {"Gelu": COPIES}),
        (Unit(Family("pointwise", (16, 1), "fp32", activation="Gelu", rounded=True), 64, 64),
         {"Erf": COPIES, "Div": COPIES, "QuantizeLinear": COPIES + 1}),
        (Unit(Family("pointwise", (64, 1), "fp32", activation="Mul", operand="scalar", rounded=True), 16, 16),
         {"Mul": COPIES, "QuantizeLinear": COPIES + 1}),
        (Unit(Family("pointwise", (16, 1), "fp32", activation="Add", operand="whole"), 32, 32), {"Add": COPIES}),
        (Unit(Family("average", (16, 1), "fp32"), 32, 32), {"ReduceMean": COPIES, "Add": COPIES}),
        (
            Unit(Family("transpose", (64, 1), "int8", shape=(1, 4, 16, 0), axes=(0, 2, 1, 3)), 8, 8),
            {"Transpose": COPIES, "QuantizeLinear": 1, "DequantizeLinear": 0},
        ),
        (Unit(Family("transpose", (64, 1), "fp32", shape=(1, 4, 16, 0), axes=(0, 2, 1, 3)), 8, 8),
         {"Transpose": COPIES}),
        (Unit(Family("slice", (192, 1), "fp32", shape=(3, 1, 4, 16, 0), axes=(0,)), 8, 8), {"Gather": COPIES}),
        (Unit(Family("slice", (192, 1), "fp32", shape=(3, 1, 4, 16, 0), axes=(0,), rounded=True), 8, 8),
         {"Gather": COPIES, "DequantizeLinear": COPIES - 1, "QuantizeLinear": COPIES}),
    ],
    ids=lambda value: value.text() if isinstance(value, Unit) else "",
)  # fmt: skip
def test_onnx_runtime_runs_copies_as_it_runs_them_in_a_network(
    unit: Unit, wanted: dict[str, int], tmp_path: Path
) -> None:
    """The first copy of a slice reads the network's own input, whose grid is the result's: what counts are the rest."""
    import onnx

    pytest.importorskip("onnxruntime")
    from edgekit.board.sessions.opening import open_session

    write_onnx(unit, COPIES, tmp_path / "net.onnx", UNSIGNED)
    options = {"optimized_model_filepath": str(tmp_path / "optimized.onnx")}
    with open_session("onnxruntime", str(tmp_path / "net.onnx"), options) as session:
        feeds: Sequence[Any] = session.signature["inputs"]
        answers = session.run({spec["name"]: np.ones(spec["shape"], spec["dtype"]) for spec in feeds})
    assert all(np.isfinite(value).all() for value in answers.values())
    made = Counter(node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node)
    assert {kind: made[kind] for kind in wanted} == wanted


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_openvino_runs_each_copy_with_its_gelu(precision: UnitPrecision, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from edgekit.board.layers import layer_rows

    unit = Unit(Family("linear", (16, 1), precision, activation="Gelu"), 32, 64)
    write_onnx(unit, COPIES, tmp_path / "net.onnx", UNSIGNED)
    feeds = {"input": np.random.default_rng(0).random((16, 32), np.float32)}
    options = {"PERF_COUNT": "YES", "INFERENCE_PRECISION_HINT": "f32"}
    rows = layer_rows("openvino", str(tmp_path / "net.onnx"), options, 1, feeds, 2)
    layers = [row for row in rows if row["op"] == "FullyConnected"]
    assert len(layers) == COPIES
    assert all("gelu" in row["facts"]["originalLayersNames"] for row in layers)


def test_children_differ_in_heads_and_blocks_and_a_table_is_told_of_all(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = TinyTransformer().eval()
    heads = []
    for index, whole in enumerate(fewer_heads(module, EXAMPLE)):
        export_onnx(whole, EXAMPLE, tmp_path / f"heads-{index}.onnx")
        (attention,) = (
            unit
            for unit in units_of(tmp_path / f"heads-{index}.onnx", "litert", "int8").units
            if unit.family.kind == "attention"
        )
        heads.append(attention.family.groups)
        assert attention.channels_in == 8
    assert heads == [1, 2, 3]
    largest = {
        unit.family
        for path in tmp_path.glob("heads-*.onnx")
        for unit in units_of(path, "litert", "int8").units
    }
    export_onnx(module, EXAMPLE, tmp_path / "full.onnx")
    largest |= {unit.family for unit in units_of(tmp_path / "full.onnx", "litert", "int8").units}
    for index, child in enumerate(random_networks(module, EXAMPLE, 3, 1)):
        export_onnx(child, EXAMPLE, tmp_path / f"{index}.onnx")
        assert {
            unit.family for unit in units_of(tmp_path / f"{index}.onnx", "litert", "int8").units
        } <= largest


def test_a_network_without_attention_has_no_heads() -> None:
    from edgekit.testing.networks import TinyConvNet

    assert list(fewer_heads(TinyConvNet().eval(), EXAMPLE)) == []


def test_a_table_holds_what_small_products_are_in_narrower_networks(transformer: Path) -> None:
    """OpenVINO's INT8 leaves a product in float by its share of all MACs, which is another one in each network."""
    network = units_of(transformer, "openvino", "int8")
    assert set(network.units) < set(network.to_measure)
    kept = [
        unit for unit in network.units if unit.family.kind == "linear" and unit.family.precision == "int8"
    ]
    limit = 0.005 * sum(unit.macs for unit in network.units)
    for unit in network.otherwise:
        if unit.family.precision == "fp32":
            assert unit.macs <= limit
        else:
            assert unit.in_precision("fp32") in network.units
    assert kept
    assert units_of(transformer, "litert", "int8").otherwise == ()


@pytest.mark.parametrize(
    ("shape", "stored", "operand"),
    [
        ((1, 16, 8), (8,), "channels"),
        ((1, 16, 8), (), "scalar"),
        ((1, 16, 8), (1, 1, 1), "scalar"),
        ((1, 16, 8), (1, 16, 8), "whole"),
        ((1, 16, 8), (16, 1), None),
        ((1, 8, 4, 4), (8, 1, 1), "channels"),
        ((1, 8, 4, 8), (8,), None),
    ],
)
def test_stored_numbers_of_other_shapes_are_no_unit_and_are_named(
    shape: tuple[int, ...], stored: tuple[int, ...], operand: str | None, tmp_path: Path
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numbers = numpy_helper.from_array(np.full(stored, 0.5, np.float32), "numbers")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    node = helper.make_node("Mul", ["x", "numbers"], ["y"], name="scaled")
    graph = helper.make_graph([node], "net", ports[:1], ports[1:], [numbers])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(tmp_path / "net.onnx"),
    )
    network = units_of(tmp_path / "net.onnx", "litert", "fp32")
    assert [unit.family.operand for unit in network.units] == ([operand] if operand else [])
    assert network.unmeasured == (() if operand else ("Mul scaled",))
