"""TensorRT-RTX compiles what is written for TensorRT, for three generations of GPUs, none of which is here."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.board.tensorrt.build import build_engine
from edgekit.board.tensorrt.record import RECIPE, read_recipe
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.graph.wiring import coverage
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import find_recipe
from edgekit.testing.networks import DepthwiseNet, TinyConvNet, TinyTransformer
from edgekit.types import Artifact, Candidate, Precision, Variant
from tests.backends.graphs import conv, graph, node, weights

trt = pytest.importorskip("tensorrt_rtx")

NETWORKS = {
    "residual": (TinyConvNet, (1, 8, 8), 5),
    "depthwise": (DepthwiseNet, (3, 32, 32), 11),
    "vit": (TinyTransformer, (1, 8, 8), 8),
}
"""Name → class, input shape, number of convolutions and matrix products."""


def export(name: str, precision: Precision, tmp_path: Path, target: str = "rtx-ada") -> Artifact:
    make, shape, _ = NETWORKS[name]
    torch.manual_seed(0)
    images = torch.randn(32, *shape).numpy()
    path = tmp_path / "network.onnx"
    signature = export_onnx(make().eval(), (images,), path)
    variant = Variant(
        "original", "original", None, "", str(path), sha256_file(path), signature, onnx_cost(path)
    )
    recipe = find_recipe("int8-minmax") if precision == "int8" else None
    folder = tmp_path / "artifact"
    folder.mkdir()
    candidate = Candidate("x", "original", "tensorrt", precision, recipe.name if recipe else "")
    data = CalibrationData(lambda: iter([(images,)]), len(images), "d") if recipe else None
    return get_backend("tensorrt").export(
        ExportRequest(variant, candidate, find_target(target), frozenset(), folder, recipe, data)
    )


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_compiles_for_every_generation(name: str, precision: Precision, tmp_path: Path) -> None:
    artifact = export(name, precision, tmp_path)
    recipe = read_recipe(str(Path(artifact.folder) / RECIPE))
    for chip in ("sm_86", "sm_89", "sm_120"):
        content = build_engine(str(Path(artifact.folder) / artifact.entry), recipe, trt, chip)
        assert len(content) > 10_000


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_and_matrix_product_stands_between_pairs(name: str, tmp_path: Path) -> None:
    counted = coverage(onnx.load(str(Path(export(name, "int8", tmp_path).folder) / "model.onnx")))
    assert len(counted.quantized) == NETWORKS[name][2]
    assert counted.in_float == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_for_an_old_jetson_compiles_too(name: str, tmp_path: Path) -> None:
    artifact = export(name, "int8", tmp_path, "jetson-xavier-nx")
    recipe = {
        **read_recipe(str(Path(artifact.folder) / RECIPE)),
        "typing": "strong",
        "timing_cache": "",
    }
    assert build_engine(str(Path(artifact.folder) / artifact.entry), recipe, trt, "sm_86")


def test_the_artifact_says_that_it_was_compiled(tmp_path: Path) -> None:
    notes = export("residual", "int8", tmp_path).audit.notes
    assert any("compiled for sm_89 by TensorRT-RTX" in note for note in notes)


def test_for_a_jetson_it_says_that_this_was_a_stand_in(tmp_path: Path) -> None:
    notes = export("residual", "int8", tmp_path, "jetson-orin-nano").audit.notes
    assert any("compiled for sm_86" in note and "stands in for sm_87" in note for note in notes)


def test_a_newer_opset_with_gelu_is_quantized_and_compiled(tmp_path: Path) -> None:
    path = tmp_path / "gelu.onnx"
    nodes = [conv("x", "a"), node("Gelu", ["a"], ["b"]), conv("b", "y")]
    onnx.save(graph(nodes, {"w": weights(4, 4, 3, 3)}, opset=20), str(path))
    variant = Variant(
        "original", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )
    folder = tmp_path / "artifact"
    folder.mkdir()
    images = weights(32, 4, 8, 8, scale=1.0)
    data = CalibrationData(lambda: iter([(images,)]), 32, "d")
    candidate = Candidate("x", "original", "tensorrt", "int8", "int8-minmax")
    request = ExportRequest(
        variant, candidate, find_target("rtx-ada"), frozenset(), folder, find_recipe("int8-minmax"), data
    )
    made = onnx.load(str(Path(get_backend("tensorrt").export(request).folder) / "model.onnx"))
    assert [each.op_type for each in made.graph.node].count("Gelu") == 1
    assert coverage(made).in_float == ()
