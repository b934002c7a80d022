"""Whole builds with zeros among weights: trained, stored without them, handed over, taken from the store again."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import edgekit
from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops
from edgekit.graph.zeros import sparse_layers
from tests.building.test_qat_build import Telling
from tests.conftest import UserNetwork


def build(network: UserNetwork, folder: Path, **change: object) -> tuple[edgekit.Result, list[str]]:
    reporter = Telling()
    options: dict[str, object] = {
        "model": network.model, "weights": network.weights, "data": "digits", "max_drop": "100%",
        "compress": "sparse", "train": {"epochs": 2.0, "batch_size": 32}, "timed_s": 0.2, "repeat": False,
        "out": folder / "out", "store": folder / "store", "reporter": reporter,
    }  # fmt: skip
    return edgekit.build(**{**options, **change}), reporter.titles  # type: ignore[arg-type]


@pytest.mark.slow  # two whole builds, and LiteRT's converter
def test_a_file_that_is_to_be_small_is_stored_without_its_zeros(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch")
    options = {
        "target": "generic-cpu",
        "runtime": "litert",
        "precision": "fp32",
        "sparsity": 0.8,
        "max_size": "100kB",
    }
    result, titles = build(digits_network, tmp_path, **options)
    assert any(title.startswith("Pruning and distilling") for title in titles)
    assert not result.failures
    rows = {row.id: row for row in result.candidates}
    assert result.winner == "sparse-80-litert-fp32"
    assert rows["sparse-80-litert-fp32"].size_bytes < 100_000 < rows["original-litert-fp32"].size_bytes
    assert "sparsified" in [step.stage for step in result.waterfall]
    (variant,) = (variant for variant in result.variants if variant.kind == "sparse")
    assert variant.parent == "original"
    assert "80% unstructured sparsity by magnitude" in variant.history[0]
    ops = read_ops(read_flatbuffer(next((tmp_path / "out" / "bundle").rglob("*.tflite"))))
    assert [op.kind for op in ops].count("DENSIFY") == 4
    page = (tmp_path / "out" / "report.html").read_text()
    assert "sparsified" in page
    assert "stored without their zeros" in page
    again, titles = build(digits_network, tmp_path, **options)
    assert not any("distilling" in title for title in titles)
    assert next(variant for variant in again.variants if variant.kind == "sparse") == variant


def test_a_board_with_sparse_tensor_cores_gets_2_4_weights_and_the_flag(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    options = {"target": "jetson-orin-nano", "precision": "fp32,fp16", "sparsity": "2:4"}
    result, _ = build(digits_network, tmp_path, **options)
    assert not result.failures
    ids = {row.id for row in result.candidates}
    assert "sparse-2of4-trt-fp16" in ids
    assert "sparse-2of4-trt-fp32" not in ids
    assert any(
        rejection.what == "2:4 sparsity in TensorRT" and "fp16 and int8 alone" in rejection.reason
        for rejection in result.rejected
    )
    folder = next((tmp_path / "out" / "bundle").rglob("sparse-2of4-trt-fp16"))
    recipe = json.loads(next(folder.rglob("build.json")).read_text())
    assert "SPARSE_WEIGHTS" in recipe["flags"]
    assert len(sparse_layers(onnx.load(str(next(folder.rglob("model.onnx")))))) == 4


def test_where_no_runtime_gains_the_build_says_why_and_trains_nothing(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    options = {"target": "generic-cpu", "runtime": "onnxruntime", "precision": "fp32", "sparsity": "2:4"}
    result, titles = build(digits_network, tmp_path, **options)
    assert not any("distilling" in title for title in titles)
    assert [variant.kind for variant in result.variants] == ["original"]
    told = {rejection.what: rejection.reason for rejection in result.rejected}
    assert told["2:4 sparsity in ONNX Runtime"].startswith("ONNX Runtime has no kernels for sparse weights")
