"""2:4 weights for TensorRT: when its builder is asked to use them, and that TensorRT-RTX compiles them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.compress import sparse_plan, sparsified
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.graph.zeros import sparse_layers
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import find_recipe
from edgekit.types import Artifact, Candidate, Precision, Sparsity, Variant
from tests.compress import nets

SHAPE = (3, 16, 16)
IMAGES = np.random.default_rng(0).standard_normal((32, *SHAPE)).astype(np.float32)


def network(sparsity: Sparsity | None) -> nn.Module:
    """A stem of three channels, a convolution and a matrix."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 10),
    ).eval()  # fmt: skip
    return made if sparsity is None else sparsified(made, sparse_plan(made, sparsity), nets.random_samples())


def exported(
    folder: Path, target: str, precision: Precision, sparsity: Sparsity | None, device: str = ""
) -> Artifact:
    path, out = folder / "network.onnx", folder / "artifact"
    out.mkdir()
    signature = export_onnx(network(sparsity), (IMAGES[:1],), path)
    variant = Variant(
        "sparse", "sparse", "original", "", str(path), sha256_file(path), signature, onnx_cost(path), sparsity
    )
    recipe = find_recipe("int8-minmax") if precision == "int8" else None
    candidate = Candidate("x", "sparse", "tensorrt", precision, recipe.name if recipe else "", device)
    data = CalibrationData(lambda: iter([(IMAGES,)]), len(IMAGES), "d")
    return get_backend("tensorrt").export(
        ExportRequest(variant, candidate, find_target(target), frozenset(), out, recipe, data)
    )


def flags(artifact: Artifact) -> list[str]:
    recipe: dict[str, Any] = json.loads((Path(artifact.folder) / "build.json").read_text())
    told: list[str] = recipe["flags"]
    return told


HALF = Sparsity("2:4", 0.5)


@pytest.mark.parametrize("target", ["jetson-orin-nano", "rtx-ampere"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_2_4_weights_are_kept_and_the_builder_may_use_them(
    tmp_path: Path, target: str, precision: Precision
) -> None:
    artifact = exported(tmp_path, target, precision, HALF)
    assert "SPARSE_WEIGHTS" in flags(artifact)
    written = onnx.load(str(Path(artifact.folder) / artifact.entry))
    assert len(sparse_layers(written)) == 2
    assert any(
        note.startswith("Weights of 2 layers are 2:4: the builder may use sparse")
        for note in artifact.audit.notes
    )
    pytest.importorskip("tensorrt_rtx")
    assert any(
        "compiled for sm_86" in note and "with SPARSE_WEIGHTS" in note for note in artifact.audit.notes
    )


@pytest.mark.parametrize(
    ("target", "precision", "sparsity", "device"),
    [
        ("jetson-orin-nano", "fp32", HALF, ""),
        ("jetson-xavier-nx", "fp16", HALF, ""),
        ("jetson-orin-nx", "fp16", HALF, "dla"),
        ("jetson-orin-nano", "fp16", None, ""),
        ("rtx-ada", "int8", Sparsity("unstructured", 0.5), ""),
    ],
)
def test_elsewhere_it_is_not_asked(
    tmp_path: Path, target: str, precision: Precision, sparsity: Sparsity | None, device: str
) -> None:
    assert "SPARSE_WEIGHTS" not in flags(exported(tmp_path, target, precision, sparsity, device))
