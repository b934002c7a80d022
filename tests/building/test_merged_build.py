"""A build whose plan merges blocks: by a formula's table that says it is faster, whole, in ONNX Runtime."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgekit
from edgekit.compress import PrunePlan, apply_plan
from edgekit.latency import LatencyTable, save_table, units_of
from edgekit.model import export_onnx
from edgekit.result import Result
from edgekit.types import Estimate
from tests.one_thread import one_thread
from tests.planning.networks import formula_table

__all__ = ["one_thread"]

EXAMPLE = (np.zeros((1, 1, 8, 8), np.float32),)
ARCHITECTURE = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())


class Straight(nn.Module):
    """An expansion and a projection; its activations hardly bend anything, so that merging does hardly any harm."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        wide = 6 * before
        self.expand = nn.Conv2d(before, wide, 1, bias=False)
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.project = nn.Conv2d(wide, after, 1)
        self.first, self.second = nn.LeakyReLU(0.95), nn.LeakyReLU(0.95)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.second(self.depthwise(self.first(self.expand(x)))))
        return y


class Network(nn.Module):
    """float32 [N, 1, 8, 8] → logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.blocks = nn.Sequential(Straight(8, 16, 2), Straight(16, 16, 1))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(F.relu(self.blocks(F.relu(self.stem(x)))).mean((2, 3)))
        return logits


def table_of(folder: Path, merged_share: float) -> Path:
    """Times by a formula on no board; those of merged layers times `merged_share`."""
    network = Network().eval()
    units = []
    for name, plan in (("whole", PrunePlan()), ("merged", PrunePlan(merged=("blocks.0", "blocks.1")))):
        path = folder / f"{name}.onnx"
        export_onnx(apply_plan(network, EXAMPLE, plan), EXAMPLE, path)
        units.append(units_of(path, "onnxruntime", "int8").units)
    own = {unit.family for unit in units[0]}
    table = formula_table([unit for part in units for unit in part])
    rows = [
        row
        if row.unit.family in own
        else replace(row, latency_ms=Estimate(*[merged_share * row.latency_ms.value] * 3))
        for row in table.timed
    ]
    place = replace(table.measured_on, arch=ARCHITECTURE, machine="no board")
    path = folder / f"table-{merged_share}.json"
    save_table(LatencyTable(place, tuple(rows)), path)
    return path


def built(folder: Path, table: Path, max_size: int) -> Result:
    chance = np.random.default_rng(0)
    given: dict[str, Any] = {
        "model": Network().eval(),
        "data": (chance.normal(size=(300, 1, 8, 8)).astype(np.float32), None),
        "train": {"epochs": 1.0},
    }
    return edgekit.build(
        target="generic-cpu",
        max_latency="50ms",
        max_size=max_size,
        max_drop="100%",
        runtime="onnxruntime",
        precision="int8",
        latency_table=table,
        qat="never",
        out=folder / "out",
        store=folder / "store",
        **given,
    )


@pytest.mark.slow
def test_a_plan_merges_blocks_trains_and_builds_them_and_a_rerun_takes_all_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(tmp_path, 0.2)
    whole = built(tmp_path, table, 10**6)
    size = min(row.size_bytes for row in whole.candidates)
    assert [variant.id for variant in whole.variants] == ["original"]
    result = built(tmp_path, table, size - 200)
    assert result.planning is not None
    merging = [plan for plan in result.planning.plans if plan.merged]
    assert merging
    trained = next(plan for plan in merging if plan.variant)
    network = next(row for row in result.variants if row.id == trained.variant)
    assert network.history[0] == f"convolutions merged: {', '.join(trained.merged)}"
    assert f"{', '.join(trained.merged)} merged: " in network.description
    candidate = next(row for row in result.candidates if row.variant == network.id)
    assert candidate.size_bytes <= size - 200
    assert result.verdict == "MEETS"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Merged into one convolution: " in page
    file = next((tmp_path / "out").rglob("*.onnx"))
    assert sum(node.op_type == "Conv" for node in onnx.load(file).graph.node) < 1 + 2 * 3
    monkeypatch.setattr("edgekit.building.variants.job.train_planned", None)
    again = built(tmp_path, table, size - 200)
    assert again.planning == result.planning
    assert [row.digest for row in again.candidates] == [row.digest for row in result.candidates]
