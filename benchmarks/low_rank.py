"""Low rank where it pays and where it does not: two builds on scikit-learn's digits, in which nothing is pruned.

A network of large linear layers, and a small residual network of 3x3 convolutions. Both are trained here, on the very
training split of the build.

    python benchmarks/low_rank.py --work WORK [--low-rank auto] [--runtime onnxruntime,openvino] [--student]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from common import show
from torch import nn
from torch.nn import functional

import edgekit
from edgekit.data import make_splits, open_source
from edgekit.testing.networks import TinyConvNet
from edgekit.types import Preprocess

SEED = 0


class Wide(nn.Module):
    """float32 [N, 1, 8, 8] → logits [N, 10]: three layers of 1,024 neurons."""

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.fc1, self.fc2, self.fc3):
            x = functional.relu(layer(x.flatten(1)))
        return self.head(x)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--low-rank", default="auto")
    parser.add_argument("--runtime", default="onnxruntime,openvino")
    parser.add_argument(
        "--student", action="store_true", help="Also teach the convolutions to the linear layers."
    )
    asked = parser.parse_args()
    figures: dict[str, Any] = {"load_before": os.getloadavg()}
    for name, make, rate in (("wide", Wide, 1e-3), ("convolutions", lambda: TinyConvNet(32), 3e-3)):
        torch.manual_seed(SEED)
        network = make()
        trained(network, rate, asked.work)
        student = {"student": TinyConvNet(8).eval()} if asked.student else {}
        result = edgekit.build(
            target="generic-cpu",
            model=network,
            data="digits",
            max_latency="auto",
            max_drop="2%",
            precision="fp32,int8",
            runtime=asked.runtime,
            low_rank=asked.low_rank,
            prune=False,
            out=asked.work / name,
            store=asked.work / "store",
            reporter="lines",
            **student,
        )
        figures[name] = told(result)
    show("low_rank", {**figures, "load_after": os.getloadavg()})


def trained(network: nn.Module, rate: float, work: Path, epochs: int = 30) -> None:
    """Plain supervised training, in place."""
    work.mkdir(parents=True, exist_ok=True)
    splits = make_splits(open_source("digits", Preprocess(), work), seed=SEED)
    assert splits.train is not None
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=rate)
    steps = -(-len(splits.train) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * rate, epochs=epochs, steps_per_epoch=steps)
    for epoch in range(epochs):
        for batch in splits.train.batches(64, shuffle_seed=epoch):
            optimizer.zero_grad()
            logits = network(torch.from_numpy(batch.inputs[0]))
            functional.cross_entropy(logits, torch.as_tensor(batch.labels)).backward()
            optimizer.step()
            schedule.step()
    network.eval()


def told(result: edgekit.Result) -> dict[str, Any]:
    """The candidates with latency and accuracy, and what was rejected of low rank."""
    return {
        "verdict": result.verdict,
        "winner": result.winner,
        "candidates": {
            row.id: {
                "p50_ms": row.latency_ms and row.latency_ms.p50,
                "p90_ms": row.latency_ms and [row.latency_ms.p90, row.latency_ms.low, row.latency_ms.high],
                "top1": row.accuracy and row.accuracy.value,
                "bytes": row.size_bytes,
            }
            for row in result.candidates
        },
        "test": result.claim and [result.claim.value, result.claim.drop, result.claim.drop_high],
        "variants": {variant.id: variant.history for variant in result.variants},
        "rejected": [f"{row.what}: {row.reason}" for row in result.rejected if "low rank" in row.what],
        "failures": [f"{row.candidate}: {row.cause}" for row in result.failures],
        "seconds": result.run.duration_s,
    }


if __name__ == "__main__":
    main()
