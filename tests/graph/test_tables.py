"""Tables of which a network takes rows: which they are, and what rounding their rows does to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.tables import look_ups, store_rows_in_int8
from edgekit.graph.taps import open_taps

ROWS, WIDTH = 300, 16


def network(
    *,
    axis: int = 0,
    rows: int = ROWS,
    shared: bool = False,
    fixed: bool = False,
    kind: type = np.float32,
) -> Any:
    """int64 [1, 6] → rows of a table [1, 6, WIDTH], twice; `shared`: the table is a weight, too."""
    table = np.random.default_rng(0).normal(0, np.geomspace(0.01, 10, rows)[:, None], (rows, WIDTH))
    table[7] = 0
    stored = [numpy_helper.from_array(table.astype(kind), "table")]
    stored += [numpy_helper.from_array(np.arange(6)[None], "fixed")] if fixed else []
    numbers = "fixed" if fixed else "ids"
    nodes = [
        helper.make_node("Gather", ["table", numbers], [name], name=f"node {name}", axis=axis)
        for name in ("y", "z")
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6, WIDTH]) for name in ("y", "z")]
    if shared:
        nodes.append(helper.make_node("MatMul", ["table", "turned"], ["w"], name="tied"))
        stored.append(numpy_helper.from_array(np.ones((WIDTH, 1), np.float32), "turned"))
        ports.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [rows, 1]))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 6])
    graph = helper.make_graph(nodes, "net", [ids], ports, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_both_that_take_rows_of_a_table_by_computed_numbers_are_found() -> None:
    assert look_ups(network()) == ("node y", "node z")


@pytest.mark.parametrize(
    "other",
    [{"axis": 1}, {"rows": 10}, {"shared": True}, {"fixed": True}, {"kind": np.float16}],
    ids=["columns", "small", "a weight too", "by stored numbers", "half"],
)
def test_what_is_no_table_of_float_rows_is_left(other: dict[str, Any]) -> None:
    assert look_ups(network(**other)) == ()


def test_rows_are_off_by_half_a_step_of_their_own_at_most_and_the_file_is_a_quarter() -> None:
    from onnx import checker

    model, ids = network(), np.array([[0, 7, 150, -1, 299, 42]])
    before = run(model, ids)
    size = model.ByteSize()
    store_rows_in_int8(model, look_ups(model))
    checker.check_model(model)
    after = run(model, ids)
    step = np.abs(before).max(-1, keepdims=True) / 127
    assert np.abs(after - before).max() > 0
    assert (np.abs(after - before) <= 0.5001 * step).all()
    assert not np.any(after[0, 1])
    assert model.ByteSize() < 0.4 * size  # of 16 values a row one scale is much
    assert model.graph.node[-1].name == "node z"
    assert {tensor.name for tensor in model.graph.initializer} == {"table/int8", "table/scale"}


def run(model: Any, ids: Any) -> Any:
    return open_taps(model, ("y",)).run([ids])["y"]
