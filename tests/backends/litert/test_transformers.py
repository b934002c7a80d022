"""What of a transformer stays float in LiteRT's INT8, and where its integers begin and end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.litert.audit import delegated
from edgekit.backends.litert.backend import LiteRtBackend
from edgekit.backends.litert.flatbuffer import Op, Tensor, read_flatbuffer, read_ops
from edgekit.backends.litert.origins import Origins, kept_in_file
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.graph.layers import name_nodes
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import find_recipe
from edgekit.testing.networks import TinyTransformer
from edgekit.types import Artifact, Candidate, Variant

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
torch = pytest.importorskip("torch")

SHAPE = (1, 1, 8, 8)
FLOAT_KINDS = {"ADD", "GELU", "MEAN", "MUL", "RSQRT", "SOFTMAX", "SQUARED_DIFFERENCE", "SUB"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Normalizations have weights of their own, as trained ones do."""
    torch.manual_seed(0)
    module = TinyTransformer().eval()
    for norm in (module.norm1, module.norm2):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.1)
    path = tmp_path_factory.mktemp("transformer") / "network.onnx"
    signature = export_onnx(module, (np.zeros(SHAPE, np.float32),), path)
    return Variant("original", "original", None, "", str(path), "", signature, onnx_cost(path))


def export(network: Variant, recipe: str, folder: Path) -> Artifact:
    values = np.random.default_rng(2).standard_normal((32, *SHAPE[1:])).astype(np.float32)
    data = CalibrationData(lambda: iter([(values,)]), 32, "digest")
    candidate = Candidate("c", "original", "litert", "int8", recipe)
    return LiteRtBackend().export(
        ExportRequest(
            network, candidate, find_target("generic-cpu"), frozenset(), folder, find_recipe(recipe), data
        )
    )


def test_sums_and_functions_are_float_products_and_moves_int8_and_xnnpack_takes_all(
    network: Variant, tmp_path: Path
) -> None:
    built = export(network, "int8-minmax", tmp_path)
    path = Path(built.folder) / built.entry
    ops = read_ops(read_flatbuffer(path))
    precision: dict[str, set[str]] = {}
    for op in ops:
        precision.setdefault(op.kind, set()).add(op.precision)
    assert set(precision) >= FLOAT_KINDS
    assert {kind for kind in precision if precision[kind] == {"fp32"}} >= FLOAT_KINDS
    for kind in ("BATCH_MATMUL", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SLICE", "TRANSPOSE"):
        assert precision[kind] == {"int8"}, kind
    assert len(delegated(path)) == len(ops)
    assert built.audit.ran_as == "int8"


def test_the_plan_names_them_by_why(network: Variant, tmp_path: Path) -> None:
    built = export(network, "int8-minmax", tmp_path)
    assert built.quantization is not None
    reasons = {layer.name: layer.reason for layer in built.quantization.in_float}
    kinds = {node.name: node.op_type for node in loaded(network).graph.node}
    by_reason = {why: {kinds[name] for name in reasons if reasons[name] == why} for why in reasons.values()}
    assert by_reason["stream"] >= {"Add", "Mul"}
    assert by_reason["runtime"] >= {"LayerNormalization", "Softmax", "Erf"}
    assert not {"MatMul", "Gemm", "Conv"} & set().union(*by_reason.values())


def test_what_takes_and_gives_int8_has_nothing_in_float(network: Variant, tmp_path: Path) -> None:
    built = export(network, "int8-io", tmp_path)
    ops = read_ops(read_flatbuffer(Path(built.folder) / built.entry))
    assert {op.precision for op in ops if op.kind in FLOAT_KINDS} == {"int8"}


def loaded(network: Variant) -> Any:
    from edgekit.graph.taps import load_graph

    return load_graph(Path(network.onnx_path))


def graph_of(body: str) -> Any:
    import onnx

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,4] x, float[4,4] w) => (float[N] y) '
        f"<float[4] b = {{1, 2, 3, 4}}> {{ {body} }}"
    )
    name_nodes(model)
    return model


def op(kind: str, made: str, *read: str) -> Op:
    tensors = [Tensor(name, "float32", (1, 4, 4), False) for name in (*read, made)]
    return Op(0, kind, tuple(tensors[:-1]), (tensors[-1],))


def test_a_bias_that_runs_with_its_product_is_no_operation_in_float() -> None:
    model = graph_of("m = MatMul(x, w) y = Add(m, b)")
    names = [node.name for node in model.graph.node]
    fused = [op("FULLY_CONNECTED", "y", "x")]
    assert Origins(fused, model).in_operations_of_their_own() == frozenset()
    assert kept_in_file(fused, model, names[1:]) == ()
    assert kept_in_file(fused, model, names[:1]) == ("y",)
    apart = [op("FULLY_CONNECTED", "product_0", "x"), op("ADD", "y", "product_0")]
    assert Origins(apart, model).in_operations_of_their_own() == {names[1]}
    assert kept_in_file(apart, model, names[1:]) == ("y",)


def test_a_normalization_whose_result_is_lost_in_the_weights_behind_is_found() -> None:
    model = graph_of("n = LayerNormalization(x, b) y = MatMul(n, w)")
    norm, product = (node.name for node in model.graph.node)
    ops = [op("MEAN", "mean_0", "x"), op("SUB", "sub_1", "x", "mean_0"), op("FULLY_CONNECTED", "y", "sub_1")]
    assert kept_in_file(ops, model, [norm]) == ("mean_0", "sub_1")
    assert kept_in_file(ops, model, [product]) == ("y",)


def test_what_passes_values_on_is_float_between_operations_in_float_alone() -> None:
    model = graph_of("a = Add(x, b) r = Transpose(a) s = Transpose(r) m = MatMul(s, w) y = Mul(r, b)")
    added, _, _, _, scaled = (node.name for node in model.graph.node)
    ops = [
        op("ADD", "a", "x"), op("TRANSPOSE", "r", "a"), op("TRANSPOSE", "s", "r"), op("FULLY_CONNECTED", "m", "s"),
        op("MUL", "y", "r"),
    ]  # fmt: skip
    assert set(kept_in_file(ops, model, [added, scaled])) == {"a", "r", "y"}
    assert set(kept_in_file(ops, model, [added])) == {"a"}


def test_rows_of_a_table_are_float_on_their_way_to_a_sum() -> None:
    model = graph_of("rows = Identity(x) a = Add(rows, b) y = Mul(a, b)")
    names = [node.name for node in model.graph.node[1:]]
    ops = [
        op("EMBEDDING_LOOKUP", "rows", "ids"), op("RESHAPE", "tokens", "rows"), op("ADD", "a", "tokens"),
        op("MUL", "y", "a"),
    ]  # fmt: skip
    assert set(kept_in_file(ops, model, names)) == {"tokens", "a", "y"}
    assert set(kept_in_file(ops, model, names[1:])) == {"y"}
