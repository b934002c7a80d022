"""Boxes up to 640 beside scores up to 0.3: INT8 keeps the scores in each runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.graph import CalibrationData
from edgekit.graph.equivalence import run_onnx
from edgekit.graph.proto import read_model
from edgekit.hardware import find_target
from edgekit.measure import evaluate
from edgekit.model import export_onnx
from edgekit.quantize import find_recipe
from edgekit.testing.onnx_networks import as_variant
from edgekit.types import BackendName, Candidate

SAMPLES = np.random.default_rng(0).standard_normal((48, 3, 16, 16)).astype(np.float32)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.box, self.score = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 4, 1)
        self.register_buffer("grid", torch.arange(16.0).view(1, 1, 16) * 40)

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.stem(x)
        boxes = (4 * self.box(features)).flatten(2).sigmoid() * 80 + self.grid
        return boxes, (4 * self.score(features)).flatten(2).sigmoid() * 0.3


class Joined(Heads):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.heads(x), 1)


class Turned(Heads):
    """As YOLOv5 gives them, with softmax scores."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes, scores = self.heads(x)
        return torch.cat([boxes, (20 * scores).softmax(1)], 1).transpose(1, 2)


class Stacked(Heads):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack(self.heads(x), 3)


class Within(Heads):
    """Joined in the middle, and taken apart and joined again at the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes, scores = torch.cat(self.heads(x), 1).split(4, 1)
        return torch.cat([scores, boxes * 0.5], 1)


class MasksBesideLogits(Heads):
    """Scene logits to tens, and one channel that says by 0 to 1 where they hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.stem(x)
        return torch.cat([60 * self.box(features), self.score(features)[:, :1].sigmoid()], 1)


class KeypointsBesideConfidences(Heads):
    """Places in pixels and how sure each is, point by point: [N, points, (x, y, confidence)]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places, scores = self.heads(x)
        confidences = (scores[:, :2].flatten(1) / 0.3).unsqueeze(-1)
        return torch.cat([places.reshape(-1, 32, 2) / 640 * 256, confidences], 2)


def lost_scores(
    network: type[nn.Module], place: tuple[slice | int, ...], backend: BackendName, target: str, folder: Path
) -> tuple[float, list[str]]:
    """Drop of the scores, which lie at `place`, from the float network to INT8; and the nodes kept in float."""
    path, out = folder / "net.onnx", folder / "out"
    signature = export_onnx(network().eval(), (SAMPLES[:1],), path)
    out.mkdir()
    recipe, board = find_recipe("int8-minmax"), find_target(target)
    request = ExportRequest(
        replace(as_variant(path), signature=signature),
        Candidate("c", "original", backend, "int8", recipe.name),
        board,
        board.assumed_features,
        out,
        recipe,
        CalibrationData(lambda: iter([(SAMPLES,)]), len(SAMPLES), "digest"),
    )
    made = get_backend(backend).export(request)
    artifact = get_backend(backend).on_host(made)
    model, single = read_model(path), [SAMPLES[at : at + 1] for at in range(24)]
    wanted = np.concatenate([run_onnx(model, (x,))[0] for x in single])
    with get_backend(artifact.backend).open(artifact) as session:
        found = np.concatenate([session.run({"input": x})["output"] for x in single])
    assert made.quantization is not None
    kept = [layer.name for layer in made.quantization.in_float]
    return evaluate({"scores": found[place]}, {"scores": wanted[place]}, None).drop.value, kept


EVERY = slice(None)
LAST = slice(4, None)


@pytest.mark.parametrize(
    ("network", "place"),
    [
        (Joined, (EVERY, LAST)),
        (Turned, (EVERY, EVERY, LAST)),
        (Stacked, (EVERY, EVERY, EVERY, 1)),
        (Within, (EVERY, slice(0, 4))),
        (MasksBesideLogits, (EVERY, LAST)),
        (KeypointsBesideConfidences, (EVERY, EVERY, 2)),
    ],
)
def test_onnx_runtime_keeps_what_was_joined(
    network: type[nn.Module], place: tuple[slice | int, ...], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    lost, kept = lost_scores(network, place, "onnxruntime", "generic-cpu", tmp_path)
    assert lost < 0.1
    assert any("Concat" in name for name in kept)


@pytest.mark.parametrize(
    ("network", "place"),
    [
        (Joined, (EVERY, LAST)),
        (MasksBesideLogits, (EVERY, LAST)),
        (KeypointsBesideConfidences, (EVERY, EVERY, 2)),
    ],
)
@pytest.mark.parametrize(
    ("backend", "package", "target"),
    [
        ("openvino", "openvino", "generic-cpu"),
        ("litert", "litert_torch", "generic-cpu"),
        ("tensorrt", "onnxruntime", "jetson-orin-nano"),
    ],
)
def test_other_runtimes_keep_the_scores_beside_boxes(
    network: type[nn.Module],
    place: tuple[slice | int, ...],
    backend: BackendName,
    package: str,
    target: str,
    tmp_path: Path,
) -> None:
    pytest.importorskip(package)
    assert lost_scores(network, place, backend, target, tmp_path)[0] < 0.1
