"""Networks of copies of one unit: runtimes run them as the units that they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.latency.handing_out import subtracted
from edgekit.latency.litert_layers import write_tflite
from edgekit.latency.onnx_layers import UNSIGNED, Integers, write_onnx
from edgekit.latency.unit import AttentionForm, Family, Unit, UnitPrecision

SAME = (1, 1, 1, 1)
COPIES = 3


def units(precision: UnitPrecision) -> list[Unit]:
    return [
        Unit(Family("conv", (16, 16), precision, (3, 3), padding=SAME, activation="Relu"), 3, 16),
        Unit(Family("conv", (16, 16), precision, (3, 3), (2, 2), SAME), 16, 24),
        Unit(Family("conv", (8, 8), precision, activation="Clip"), 16, 32),
        Unit(Family("depthwise", (8, 8), precision, (3, 3), padding=SAME, activation="Clip"), 32, 32),
        Unit(Family("depthwise", (8, 8), precision, (3, 3), (2, 2), SAME), 32, 32),
        Unit(Family("linear", (1, 1), precision), 32, 10),
        Unit(Family("add", (8, 8), precision, activation="Relu"), 16, 16),
        Unit(Family("average", (8, 8), precision), 32, 32),
    ]


INTEGER_KERNELS = {
    "conv": "QLinearConv", "depthwise": "QLinearConv", "linear": "QGemm", "add": "QLinearAdd",
    "average": "QLinearGlobalAveragePool",
}  # fmt: skip


@pytest.mark.parametrize("integers", [UNSIGNED, Integers("int8", "int8")], ids=["uint8", "int8"])
@pytest.mark.parametrize("unit", units("int8"), ids=Unit.text)
def test_onnx_runtime_runs_each_copy_by_its_integer_kernel(
    unit: Unit, integers: Integers, tmp_path: Path
) -> None:
    """A Q/DQ pair too few or a bias of another scale, and it would time a float layer."""
    kinds = optimized(unit, integers, tmp_path)
    assert kinds.count(INTEGER_KERNELS[unit.family.kind]) == COPIES
    assert not {"Conv", "Gemm", "MatMul", "FusedConv", "Relu", "Clip"} & set(kinds)
    assert kinds.count("QuantizeLinear") == 1


@pytest.mark.parametrize(
    "unit", [u for u in units("fp32") if u.family.kind in ("conv", "depthwise")], ids=Unit.text
)
def test_onnx_runtime_runs_each_float_copy_as_one_node(unit: Unit, tmp_path: Path) -> None:
    kinds = optimized(unit, UNSIGNED, tmp_path)
    assert sum("Conv" in kind for kind in kinds) == COPIES
    assert not {"Relu", "Clip"} & set(kinds)


def optimized(unit: Unit, integers: Integers, folder: Path) -> list[str]:
    """Kinds of the nodes that ONNX Runtime makes of the network."""
    import onnx

    from edgekit.board.sessions.opening import open_session

    pytest.importorskip("onnxruntime")
    write_onnx(unit, COPIES, folder / "net.onnx", integers)
    options = {"optimized_model_filepath": str(folder / "optimized.onnx"), "session.qdqisint8allowed": "1"}
    with open_session("onnxruntime", str(folder / "net.onnx"), options) as session:
        feeds: Any = session.signature["inputs"]
        answers = session.run({spec["name"]: np.ones(spec["shape"], spec["dtype"]) for spec in feeds})
    assert all(np.isfinite(value).all() for value in answers.values())
    return [node.op_type for node in onnx.load(str(folder / "optimized.onnx")).graph.node]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_litert_runs_every_copy_in_its_delegate(precision: UnitPrecision, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from edgekit.backends.litert.audit import delegated
    from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops

    for unit in units(precision):
        write_tflite(unit, COPIES, tmp_path / "net.tflite")
        ops = read_ops(read_flatbuffer(tmp_path / "net.tflite"))
        assert len([op for op in ops if op.kind != "PAD"]) == COPIES
        assert delegated(tmp_path / "net.tflite") == {op.index for op in ops}, unit.text()
        assert {op.precision for op in ops} == {precision}


def test_openvino_runs_each_copy_in_integers(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from edgekit.board.layers import layer_rows

    unit = Unit(
        Family("conv", (16, 16), "int8", (3, 3), padding=SAME, activation="Relu", residual=True), 16, 16
    )
    write_onnx(unit, COPIES, tmp_path / "net.onnx", UNSIGNED)
    rng = np.random.default_rng(0)
    feeds = {name: rng.random((1, 16, 16, 16), np.float32) for name in ("input", "residual")}
    options = {"PERF_COUNT": "YES", "INFERENCE_PRECISION_HINT": "f32"}
    rows = layer_rows("openvino", str(tmp_path / "net.onnx"), options, 1, feeds, 2)
    kinds = [row["op"] for row in rows]
    assert kinds.count("Convolution") == COPIES
    assert "Eltwise" not in kinds
    precisions = {row["facts"]["runtimePrecision"] for row in rows if row["op"] == "Convolution"}
    assert not precisions & {"f32", "bf16"}


def test_what_each_copy_costs_besides_is_named() -> None:
    conv = units("int8")[0]
    (thin,) = subtracted(conv)
    assert (thin.family.kind, thin.family.size, thin.channels_in) == ("maxpool", (16, 16), 16)
    assert subtracted(thin) == ()
    pool = Unit(Family("maxpool", (16, 16), "int8", (3, 3), (2, 2), SAME), 16, 16)
    add, thin = subtracted(pool)
    assert (add.family.kind, add.channels_in) == ("add", 16)
    assert (thin.family.kind, thin.family.size) == ("maxpool", (8, 8))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_poolings_that_thin_one_tensor_are_all_run(precision: UnitPrecision, tmp_path: Path) -> None:
    """Behind a convolution, as where they are used; equal ones would be one."""
    (thin,) = subtracted(Unit(Family("conv", (16, 16), precision, (3, 3), padding=SAME), 16, 16))
    kinds = optimized(thin, UNSIGNED, tmp_path)
    assert sum("MaxPool" in kind for kind in kinds) == COPIES
    assert sum("Conv" in kind for kind in kinds) == 1


FORMS = [
    AttentionForm(("queries", "keys"), packed=True, biased=True),
    AttentionForm(("queries",)),
    AttentionForm(("scores",), masked=True),
    AttentionForm(("queries", "keys"), masked=True, guarded=True),
]


def attention(precision: UnitPrecision, form: AttentionForm) -> Unit:
    return Unit(Family("attention", (17, 17), precision, groups=3, attention=form), 16, 24)


@pytest.mark.parametrize("form", FORMS, ids=AttentionForm.text)
def test_onnx_runtime_runs_an_attention_in_integers(form: AttentionForm, tmp_path: Path) -> None:
    kinds = optimized(attention("int8", form), UNSIGNED, tmp_path)
    assert kinds.count("QLinearMatMul") == 2 * COPIES
    assert kinds.count("QLinearSoftmax") == COPIES
    assert not {"MatMul", "FusedMatMul", "Softmax"} & set(kinds)
    # What it reads is in integers already: nothing is rounded but what float arithmetic gives.
    stretches = len({*form.scaled} - {"scores"}) + form.biased + ("scores" in form.scaled or form.masked)
    assert kinds.count("QuantizeLinear") == COPIES * stretches


@pytest.mark.parametrize("form", FORMS, ids=AttentionForm.text)
def test_onnx_runtime_runs_every_float_attention(form: AttentionForm, tmp_path: Path) -> None:
    kinds = optimized(attention("fp32", form), UNSIGNED, tmp_path)
    assert kinds.count("MatMul") + kinds.count("FusedMatMul") == 2 * COPIES
    assert kinds.count("Softmax") == COPIES
    assert "Mul" not in kinds  # the scale goes into its product


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_openvino_runs_every_attention_of_its_own(precision: UnitPrecision, tmp_path: Path) -> None:
    """As one subgraph each, or in parts, as its version does on this CPU; never one for several."""
    pytest.importorskip("openvino")
    from edgekit.board.layers import layer_rows

    path = tmp_path / "net.onnx"
    write_onnx(attention(precision, FORMS[1]), COPIES, path, UNSIGNED, rounds_results=False)
    rng = np.random.default_rng(0)
    feeds = {
        f"layer{copy}.{part}": rng.random((1, 17, width), np.float32)
        for copy in range(COPIES)
        for part, width in (("queries", 48), ("keys", 48), ("values", 72))
    }
    options = {"PERF_COUNT": "YES", "INFERENCE_PRECISION_HINT": "f32"}
    rows = layer_rows("openvino", str(path), options, 1, feeds, 2)
    told = " ".join(row["facts"].get("originalLayersNames", "") + row["name"] for row in rows)
    assert all(f"layer{copy}.sum" in told for copy in range(COPIES))
