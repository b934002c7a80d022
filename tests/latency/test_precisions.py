"""Units in both precisions, what is between them, and chains that measure going from one to the other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import StageError
from edgekit.latency import LatencyTable, MeasuredOn, TimedUnit
from edgekit.latency.measuring import MIXED
from edgekit.latency.onnx_layers import UNSIGNED
from edgekit.latency.precisions import precision_graph
from edgekit.latency.transitions import BORDERS, CHAINS, transition, transition_ms, write_chain
from edgekit.latency.units import unit_graph
from edgekit.model.export import export_onnx
from edgekit.quantize.stream import between_products
from edgekit.testing.networks import TinyTransformer
from edgekit.testing.onnx_networks import residual_network
from edgekit.types import BackendName, Estimate

HERE = MeasuredOn("here", "a CPU", "x86_64", (), "onnxruntime", "1", 1)


def table_of(path: Path, runtime: BackendName, *, without: str = "") -> LatencyTable:
    """Each float layer takes 3 ms, in int8 1 ms, a transition 0.25 ms; of kinds named `without` nothing is known."""
    known = {"fp32": 3.0, "int8": 1.0}
    rows = []
    for unit in precision_graph(path, runtime).wanted():
        value = 0.25 if unit.family.kind == "transition" else known[unit.family.precision]
        if unit.family.kind != without:
            rows.append(TimedUnit(unit, Estimate(value, value, value)))
    return LatencyTable(HERE, tuple(rows))


def test_units_and_tensors_between_them_are_those_of_the_network(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    times = precision_graph(path, "onnxruntime").times(table_of(path, "onnxruntime"))
    names = [unit.nodes[0] for unit in times.units]
    assert names == ["stem", "inner", "widen", "residual", "mean", "head", "shortcut", "shortcut_pad"]
    assert [unit.extra_ms for unit in times.units] == [2.0] * 6 + [None] * 2
    ends = {
        border.tensor: (
            None if border.maker is None else names[border.maker],
            tuple(None if reader is None else names[reader] for reader in border.readers),
        )
        for border in times.borders
    }
    assert ends["pixels"] == (None, ("stem",))
    assert ends["r1"] == ("stem", ("inner", "shortcut"))
    assert ends["c3"] == ("widen", ("residual",))
    assert ends["scores"] == ("head", (None,))
    assert {border.ms for border in times.borders} == {0.25}
    assert times.int8_ms == 6.0
    assert times.rounds_results
    assert "a CPU with onnxruntime 1" in times.measured_on


def test_a_runtime_that_adds_within_a_convolution_has_no_unit_for_it(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    graph = precision_graph(path, "openvino")
    assert ("widen", "residual", "residual_relu") in graph.nodes
    assert not graph.times(table_of(path, "openvino")).rounds_results


def test_what_the_table_does_not_tell_cannot_be_chosen_or_is_an_error(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    graph = precision_graph(path, "onnxruntime")
    told = graph.times(table_of(path, "onnxruntime", without="linear"))
    assert {unit.nodes[0]: unit.extra_ms for unit in told.units}["head"] is None
    with pytest.raises(StageError, match=r"transition of .* which is between layers"):
        graph.times(table_of(path, "onnxruntime", without="transition"))
    with pytest.raises(StageError, match="no layer of this network in both precisions"):
        graph.times(LatencyTable(HERE))


@settings(deadline=None)
@given(
    st.floats(0.1, 9),
    st.floats(0.1, 9),
    st.floats(0, 2),
    st.lists(st.floats(0, 3), min_size=3, max_size=9),
)
def test_a_border_is_what_the_mixed_chain_takes_beyond_the_mean_of_the_others(
    low: float, high: float, border: float, constants: list[float]
) -> None:
    layers = len(CHAINS[0])
    rounds = [
        [constant + layers * low for constant in constants],
        [constant + layers * high for constant in constants],
        [constant + layers * (low + high) / 2 + BORDERS * border for constant in constants],
    ]
    value, by_round = transition_ms(rounds)
    assert value == pytest.approx(border)
    assert by_round == pytest.approx([border] * len(constants))


@pytest.mark.parametrize("unit", [transition((8, 8), 16), transition((6, 1), 32)], ids=["image", "tokens"])
def test_onnx_runtime_runs_the_layers_of_a_chain_in_their_precisions(unit: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for chain in CHAINS:
        write_chain(unit, chain, "onnxruntime", tmp_path / "net.onnx", UNSIGNED)
        kinds = optimized(tmp_path)
        integer = kinds["QLinearConv"] + kinds["QLinearMatMul"] + kinds["QGemm"]
        floating = kinds["Conv"] + kinds["FusedConv"] + kinds["MatMul"] + kinds["Gemm"] + kinds["FusedMatMul"]
        assert (integer, floating) == (chain.count("i"), chain.count("f")), (chain, kinds)
        if chain == CHAINS[2]:
            assert kinds["QuantizeLinear"] + kinds["DequantizeLinear"] >= BORDERS


def optimized(folder: Path) -> Counter[str]:
    """Kinds of the nodes that ONNX Runtime makes of the network, as a build opens it."""
    import onnx

    from edgekit.board.sessions.opening import open_session

    options = {**MIXED["onnxruntime"], "optimized_model_filepath": str(folder / "optimized.onnx")}
    with open_session("onnxruntime", str(folder / "net.onnx"), options) as session:
        feeds: Any = session.signature["inputs"]
        session.run({spec["name"]: np.ones(spec["shape"], np.float32) for spec in feeds})
    return Counter(node.op_type for node in onnx.load(str(folder / "optimized.onnx")).graph.node)


def test_openvino_runs_the_layers_of_a_chain_in_their_precisions(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from edgekit.board.layers import layer_rows

    write_chain(transition((32, 32), 64), CHAINS[2], "openvino", tmp_path / "net.onnx", UNSIGNED)
    # Of smaller ones it tells none: they take no whole microsecond.
    feeds = {"input": np.random.default_rng(0).random((1, 64, 32, 32), np.float32)}
    options = {"PERF_COUNT": "YES", "INFERENCE_PRECISION_HINT": "f32"}
    rows = layer_rows("openvino", str(tmp_path / "net.onnx"), options, 1, feeds, 2)
    layers = [row["facts"]["runtimePrecision"] for row in rows if "Convolution" in row["op"]]
    assert [precision == "f32" for precision in layers] == [name == "f" for name in CHAINS[2]]


def test_litert_runs_the_layers_of_a_chain_in_their_precisions(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from edgekit.backends.litert.audit import delegated
    from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops

    path = tmp_path / "net.tflite"
    for unit in (transition((8, 8), 16), transition((6, 1), 32)):
        for chain in CHAINS:
            write_chain(unit, chain, "litert", path, UNSIGNED)
            ops = read_ops(read_flatbuffer(path))
            layers = [op.precision for op in ops if op.kind not in ("QUANTIZE", "DEQUANTIZE")]
            assert layers == [{"i": "int8", "f": "fp32"}[name] for name in chain]
            assert len(ops) - len(layers) == (BORDERS if chain == CHAINS[2] else 0)
            assert delegated(path) == {op.index for op in ops}


def test_an_attention_is_chosen_by_its_products_and_is_not_float_anyway_for_its_scales(
    tmp_path: Path,
) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(TinyTransformer().eval(), (np.zeros((1, 1, 8, 8), np.float32),), path)
    graph = precision_graph(path, "onnxruntime")
    (place,) = [i for i, unit in enumerate(graph.units) if unit and unit.family.kind == "attention"]
    kinds = {node.name: node.op_type for node in unit_graph(path).graph.node}
    assert [kinds[name] for name in graph.nodes[place]] == ["MatMul", "MatMul", "Softmax"]
    stream = {layer.name for layer in between_products(unit_graph(path))}
    assert stream.isdisjoint(graph.nodes[place])
    attention = graph.units[place]
    assert attention is not None
    assert not stream.isdisjoint(attention.nodes)  # the scales, which belong to its time
    assert all(place not in entry.readers for entry in graph.between if entry.maker == place)
