"""Weights without their zeros in a .tflite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.litert.backend import LiteRtBackend
from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops
from edgekit.backends.litert.sparse import store_sparse
from edgekit.graph import onnx_cost
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.types import Artifact, Candidate, Precision, Variant

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
torch = pytest.importorskip("torch")


def network(share: float) -> Any:
    """An image's convolution, a depthwise one, one of 3x3, one of 1x1 with more than 256 inputs, and a matrix; the last
    three with this share of zeros."""
    nn = torch.nn
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU(),
        nn.Conv2d(16, 300, 3, 1, 1), nn.ReLU(), nn.Conv2d(300, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for layer in (made[4], made[6], made[10]):
            count = int(share * layer.weight.numel())
            layer.weight.flatten()[layer.weight.abs().flatten().argsort()[:count]] = 0.0
    return made


def exported(folder: Path, share: float, precision: Precision = "fp32") -> Artifact:
    folder.mkdir()
    path = folder / "network.onnx"
    signature = export_onnx(network(share), (np.zeros((1, 3, 16, 16), np.float32),), path)
    variant = Variant("original", "original", None, "", str(path), "", signature, onnx_cost(path))
    out = folder / "out"
    out.mkdir()
    candidate = Candidate("c", "original", "litert", precision, "")
    return LiteRtBackend().export(
        ExportRequest(variant, candidate, find_target("generic-cpu"), frozenset(), out)
    )


def kinds(artifact: Artifact) -> list[str]:
    return [op.kind for op in read_ops(read_flatbuffer(Path(artifact.folder) / artifact.entry))]


def outputs(artifact: Artifact, images: Any) -> Any:
    with LiteRtBackend().open(artifact) as session:
        (values,) = session.run({session.signature["inputs"][0]["name"]: images}).values()
    return values


def test_the_file_is_smaller_says_the_same_and_says_so(tmp_path: Path) -> None:
    sparse, dense = exported(tmp_path / "sparse", 0.9), exported(tmp_path / "dense", 0.0)
    assert kinds(sparse).count("DENSIFY") == 3
    assert "DENSIFY" not in kinds(dense)
    assert sparse.size_bytes < 0.45 * dense.size_bytes
    assert sparse.audit.notes[0].startswith("Weights of 3 layers are stored without their zeros, in ")
    assert "XNNPACK takes all" in sparse.audit.notes[-1]
    feeds = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        wanted = network(0.9)(torch.from_numpy(feeds)).numpy()
    np.testing.assert_allclose(outputs(sparse, feeds), wanted, atol=1e-5)


def test_zeros_that_save_little_are_stored_as_they_are(tmp_path: Path) -> None:
    few = exported(tmp_path / "few", 0.2)
    path = Path(few.folder) / few.entry
    before = path.read_bytes()
    assert store_sparse(path) == ()
    assert path.read_bytes() == before
    assert "DENSIFY" not in kinds(few)


def test_of_other_precisions_nothing_is_left_out(tmp_path: Path) -> None:
    assert "DENSIFY" not in kinds(exported(tmp_path / "half", 0.9, "fp16"))


def test_each_operation_is_timed_with_its_own_weights(tmp_path: Path) -> None:
    sparse = exported(tmp_path / "sparse", 0.9)
    folder = tmp_path / "parts"
    folder.mkdir()
    (name,) = (port["name"] for port in json.loads(sparse.options["inputs"]))
    feeds = {name: np.ones((1, 3, 16, 16), np.float32)}
    parts = LiteRtBackend().layer_parts(sparse, feeds, folder)
    assert len(parts) == len([kind for kind in kinds(sparse) if kind != "DENSIFY"])
    held = [read_ops(read_flatbuffer(folder / part.path)) for part in parts]
    assert sum(op.kind == "DENSIFY" for ops in held for op in ops) == 3
    assert all(len(part.feeds) == 1 for part in parts)
