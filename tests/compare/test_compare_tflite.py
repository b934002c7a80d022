"""Comparisons with .tflite files, made here by litert-torch and AI Edge Quantizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.compare import CompareSamples, Comparison, compare_artifacts
from edgekit.errors import ModelError
from edgekit.types import Artifact, BackendName
from tests.compare.artifacts import truncated

for package in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"):
    pytest.importorskip(package)
pytestmark = pytest.mark.slow


def artifact(path: Path) -> Artifact:
    backend: BackendName = "litert" if path.suffix == ".tflite" else "onnxruntime"
    return Artifact(path.stem, backend, str(path.parent), path.name, (), 0, 0.0)


def compared(folder: Path, a: str, b: str) -> Comparison:
    arrays = np.load(folder / "images.npz")["x"]
    images = CompareSamples(lambda: iter([((arrays,), None)]), len(arrays), "images")
    return compare_artifacts(artifact(folder / a), artifact(folder / b), images)


def test_float_and_int8_of_one_conversion_match_by_name(tflite: Path) -> None:
    found = compared(tflite, "float.tflite", "int8.tflite")
    assert {layer.matched for layer in found.layers} == {"name"}
    assert (found.a.arithmetic, found.b.arithmetic) == ("fp32", "int8")
    assert all(layer.grid is not None for layer in found.layers)
    assert found.outputs[0].difference.cosine > 0.99


def test_onnx_and_tflite_match_by_values_in_order_across_layouts(tflite: Path) -> None:
    found = compared(tflite, "float.onnx", "float.tflite")
    assert found.parts_at is None
    inner = [layer for layer in found.layers if layer.op == "relu"]
    assert len(inner) == 3
    assert {layer.matched for layer in inner} == {"values"}
    assert {layer.layout for layer in inner} == {"from channels last to channels first"}
    assert min(layer.difference.sqnr_db for layer in found.layers) > 80


def test_onnx_and_int8_tflite_are_compared_layer_by_layer(tflite: Path) -> None:
    found = compared(tflite, "float.onnx", "int8.tflite")
    relus = [layer for layer in found.layers if layer.op == "relu"]
    assert len(relus) == 3
    assert all(10 < layer.difference.sqnr_db < 60 for layer in relus)


def test_a_truncated_tflite_is_refused_in_one_line(tflite: Path, tmp_path: Path) -> None:
    half = truncated(tflite / "float.tflite", tmp_path / "half.tflite")
    with pytest.raises(ModelError, match=r"half\.tflite cannot be opened: LiteRT"):
        compare_artifacts(artifact(tflite / "float.tflite"), artifact(half))
