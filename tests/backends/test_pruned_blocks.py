"""YOLO-class blocks at half of their MACs and a transformer with a narrower stream, in every runtime: as in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.backends.base import ExportRequest
from edgekit.backends.table import get_backend
from edgekit.compress import PruneConfig, apply_plan, propose, propose_widths, prunable
from edgekit.compress.base import Example
from edgekit.files import sha256_file
from edgekit.graph import onnx_cost
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.types import BackendName, Candidate, Variant
from tests.planning.attentions import IMAGES, small_vit

EXAMPLE = (np.zeros((1, 3, 32, 32), dtype=np.float32),)


class ConvNorm(nn.Module):
    def __init__(self, source: int, width: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(source, width, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self.norm(self.conv(x)), inplace=True)


class C2f(nn.Module):
    """YOLOv8's block: two halves, bottlenecks behind the second, all side by side."""

    def __init__(self, source: int, width: int, bottlenecks: int) -> None:
        super().__init__()
        half = width // 2
        self.enter, self.leave = ConvNorm(source, width), ConvNorm((2 + bottlenecks) * half, width)
        self.inner = nn.ModuleList(
            nn.Sequential(ConvNorm(half, half, 3), ConvNorm(half, half, 3)) for _ in range(bottlenecks)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for bottleneck in self.inner:
            parts.append(parts[-1] + bottleneck(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Sppf(nn.Module):
    """Pooling again and again, all side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = ConvNorm(width, width // 2), ConvNorm(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


def yolo_class() -> nn.Module:
    """Stem, two C2f blocks, SPPF, a map of scores: [1, 3, 32, 32] → [1, 8, 8, 8]; norms as after training."""
    torch.manual_seed(0)
    module = nn.Sequential(
        ConvNorm(3, 16, 3, 2),
        C2f(16, 32, 1),
        ConvNorm(32, 64, 3, 2),
        C2f(64, 64, 2),
        Sppf(64),
        nn.Conv2d(64, 8, 1),
    )
    module.train()(torch.randn(32, 3, 32, 32))
    return module.eval()


def half_of_yolo_class() -> nn.Module:
    config = PruneConfig(importance="magnitude", round_to=8)
    module = yolo_class()
    plan = propose(module, EXAMPLE, config, 0.5)
    assert 0.4 < plan.fraction <= 0.5
    return apply_plan(module, EXAMPLE, plan)


def narrow_vit() -> nn.Module:
    """40 of 64 channels in its stream, and fewer heads."""
    module = small_vit(depth=1)
    config = PruneConfig(importance="magnitude", round_to=8)
    widths = {
        group.layer: group.allowed[min(3, len(group.allowed) - 1)]
        for group in prunable(module, IMAGES, config)
    }
    pruned = apply_plan(module, IMAGES, propose_widths(module, IMAGES, widths, config))
    assert pruned.get_submodule("net.vit.layernorm").get_parameter("weight").shape == (40,)
    return pruned


PRUNED: dict[str, tuple[Callable[[], nn.Module], Example]] = {
    "yolo": (half_of_yolo_class, EXAMPLE),
    "vit": (narrow_vit, IMAGES),
}


@pytest.mark.parametrize("name", PRUNED)
@pytest.mark.parametrize(
    "backend", ["onnxruntime", "openvino", pytest.param("litert", marks=pytest.mark.slow)]
)
def test_a_pruned_network_in_every_runtime(backend: BackendName, name: str, tmp_path: Path) -> None:
    make, example = PRUNED[name]
    pruned = make()
    path = tmp_path / "pruned.onnx"
    signature = export_onnx(pruned, example, path)
    cost = onnx_cost(path)
    variant = Variant("pruned", "pruned", "original", "", str(path), sha256_file(path), signature, cost)
    candidate = Candidate("candidate", "pruned", backend, "fp32")
    folder = tmp_path / "artifact"
    folder.mkdir()
    request = ExportRequest(variant, candidate, find_target("generic-cpu"), frozenset({"avx2"}), folder)
    maker = get_backend(backend)
    x = np.random.default_rng(1).standard_normal(example[0].shape).astype(np.float32)
    with maker.open(maker.export(request)) as session, torch.no_grad():
        (answer,) = session.run({signature.inputs[0].name: x}).values()
        wanted = pruned(torch.from_numpy(x)).numpy()
    assert np.abs(answer - wanted).max() <= 1e-3 * np.abs(wanted).max()
