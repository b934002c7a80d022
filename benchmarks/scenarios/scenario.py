"""What the scenarios share: the build, the original beside what was chosen, and the claim beside both."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from common import CLASSES_MEAN, CLASSES_STD, edgekit, show, unpack  # noqa: E402  (a file beside this folder)
from common import PREPROCESS as CIFAR10_OPTIONS  # noqa: E402

from edgekit.compress import TrainConfig, finetune  # noqa: E402
from edgekit.compress.base import Samples  # noqa: E402
from edgekit.data import Split, make_splits, open_source  # noqa: E402
from edgekit.types import Preprocess  # noqa: E402

__all__ = [
    "CIFAR10", "CIFAR10_OPTIONS", "HERE", "Claim", "arguments", "build", "fastest_original", "show_beside",
    "trained", "training_part", "unpack",
]  # fmt: skip

CIFAR10 = Preprocess(input_layout="nhwc", scale=255.0, mean=CLASSES_MEAN, std=CLASSES_STD)


@dataclass(frozen=True)
class Claim:
    """What the scenario is to reach against the original in float, and the points of the metric lost at most.

    faster: median latency. smaller: the artifact. fewer: parameters of the network.
    """

    faster: float
    points: float
    smaller: float = 1.0
    fewer: float = 1.0


def arguments(description: str, work: str, *, epochs: float, student_epochs: float) -> argparse.Namespace:
    """What every scenario is asked: `epochs` of the teacher's training, and so many of the student's, by default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench") / work)
    parser.add_argument("--epochs", type=float, default=epochs, help="of the teacher's training")
    parser.add_argument("--student-epochs", type=float, default=student_epochs)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--build-option", action="append", default=[], help="a further word for the build")
    return parser.parse_args()


def training_part(data: str | Path, preprocess: Preprocess, asked: argparse.Namespace) -> Split:
    """What the build trains on of the data; torch begins with seed 0."""
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    splits = make_splits(open_source(str(data), preprocess, asked.work / "cache"), seed=0)
    assert splits.train is not None
    return splits.train


def trained(
    network: nn.Module, samples: Samples, config: TrainConfig, path: Path, teacher: nn.Module | None = None
) -> nn.Module:
    """`network` trained, or with the weights that an earlier run left in `path`; in eval mode."""
    if path.exists():
        network.load_state_dict(load_file(path))
        return network.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    finetune(network, samples, config, teacher=teacher, checkpoint=path.with_suffix(".checkpoint"))
    print(f"{path.stem}: {config.epochs:g} epochs in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return network.eval()


def build(out: Path, *arguments: str) -> dict[str, Any]:
    """`edgekit build` on this machine; its result, and the seconds that it took as `build_s`."""
    started = time.perf_counter()
    edgekit(
        "build", "--target", "generic-cpu", "--percentile", "p50", *arguments,
        "--out", str(out), "--store", str(out.parent / "store"),
    )  # fmt: skip
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return {**result, "build_s": round(time.perf_counter() - started)}


def show_beside(title: str, result: Mapping[str, Any], claim: Claim) -> None:
    """Print the original in float, what was chosen, each variant's best build, and whether the claim is reached.

    The original is its fastest build in float32. Latencies are medians of the build's interleaved rounds; drops are
    those of the test split, paired sample by sample, of validation for what was not chosen.
    """
    kinds = {variant["id"]: variant for variant in result["variants"]}
    timed = timed_rows(result)
    original = fastest_original(result)
    chosen = next(row for row in timed if row["id"] == (result["winner"] or result["nearest"]))
    judged = result["claim"] or chosen["accuracy"]
    faster = original["latency_ms"]["p50"] / chosen["latency_ms"]["p50"]
    smaller = original["size_bytes"] / chosen["size_bytes"]
    fewer = kinds[original["variant"]]["parameters"] / kinds[chosen["variant"]]["parameters"]
    points = 100 * judged["drop"]
    best = {
        name: max((row for row in timed if row["variant"] == name), key=lambda row: row["accuracy"]["value"])
        for name in {row["variant"] for row in timed}
    }
    show(
        title,
        {
            "verdict": result["verdict"],
            "build_s": result["build_s"],
            "split_sizes": result["run"]["split_sizes"],
            "original": {**_row(original), "parameters": kinds[original["variant"]]["parameters"]},
            "chosen": {**_row(chosen), "parameters": kinds[chosen["variant"]]["parameters"]},
            "metric": f"{judged['metric']} on {judged['split']}, {judged['samples']} samples",
            "value": judged["value"],
            "drop_points": [round(100 * judged[key], 2) for key in ("drop", "drop_low", "drop_high")],
            "times_faster": f"{faster:.2f} (claim: {claim.faster:g})",
            "times_smaller": f"{smaller:.2f} (claim: {claim.smaller:g})",
            "times_fewer_parameters": f"{fewer:.2f} (claim: {claim.fewer:g})",
            "points_lost": f"{points:.2f} (claim: {claim.points:g})",
            "reached": all(
                (
                    faster >= claim.faster,
                    smaller >= claim.smaller,
                    fewer >= claim.fewer,
                    points <= claim.points,
                )
            ),
            "waterfall": [
                f"{step['stage']} {step['accuracy']:.4f} ({step['change']:+.4f})"
                for step in result["waterfall"]
            ],
            "variants": {name: _row(row) for name, row in sorted(best.items())},
            "rejected": [f"{row['what']}: {row['reason']}" for row in result["rejected"]],
            "failures": [f"{row['candidate']}: {row['cause']}" for row in result["failures"]],
        },
    )


def timed_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Candidates that were measured in full."""
    return [row for row in result["candidates"] if row["latency_ms"] and row["accuracy"]]


def fastest_original(result: Mapping[str, Any]) -> dict[str, Any]:
    """The original's fastest build in float32."""
    originals = {variant["id"] for variant in result["variants"] if variant["kind"] == "original"}
    floats = [
        row
        for row in timed_rows(result)
        if row["variant"] in originals and row["precision"] == row["ran_as"] == "fp32"
    ]
    return min(floats, key=lambda row: float(row["latency_ms"]["p50"]))


def _row(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": candidate["id"],
        "p50_ms": round(candidate["latency_ms"]["p50"], 4),
        "size_kb": round(candidate["size_bytes"] / 1000),
        "validation": round(candidate["accuracy"]["value"], 4),
    }
