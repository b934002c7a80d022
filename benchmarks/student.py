"""A student by labels alone, by logits, and by logits and what layers show: the same data, the same time, three seeds.

Teacher and students are residual networks of 3x3 convolutions on scikit-learn's digits, of which only a share trains
the students. Each training gets the same seconds of a clock; its schedule is shortened to fit. The ways take turns, so
that what else the machine does hits all alike.

    python benchmarks/student.py --work WORK [--seconds 8] [--share 0.25]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import show
from low_rank import trained

from edgekit.compress import Features, TrainConfig, accuracy, hold_aside, train_student
from edgekit.data import Split, make_splits, open_source
from edgekit.testing.networks import TinyConvNet
from edgekit.types import Preprocess

SEEDS = (0, 1, 2)
LAYERS = (("conv2", "conv2"), ("down", "down"))
LAST = (("down", "down"),)
WAYS: dict[str, dict[str, Any]] = {
    "labels": {"alpha": 1.0, "features": Features()},
    "logits": {"alpha": 0.3, "features": Features()},
    "logits and features": {"alpha": 0.3, "features": Features(values=LAYERS)},
    "logits and relations": {"alpha": 0.3, "features": Features(relations=LAST)},
    "logits and attention": {"alpha": 0.3, "features": Features(attention=LAYERS)},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--share", type=float, default=0.25, help="Of the training samples.")
    parser.add_argument("--width", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher = TinyConvNet(32)
    trained(teacher, 3e-3, asked.work)
    splits = make_splits(open_source("digits", Preprocess(), asked.work), seed=0)
    assert splits.train is not None
    _, few = hold_aside(splits.train, asked.share, 0)
    figures: dict[str, Any] = {
        "load_before": os.getloadavg(),
        "samples": {"train": len(few), "test": len(splits.test)},
        "teacher": accuracy(teacher, splits.test),
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for seed in SEEDS:
        for name, way in WAYS.items():
            rows[name].append(taught(teacher, few, splits.test, seed, asked.seconds, asked.width, **way))
    for name in WAYS:
        scores = [row["top1"] for row in rows[name]]
        figures[name] = {
            "mean": float(np.mean(scores)),
            "spread": float(np.std(scores, ddof=1)),
            "seeds": rows[name],
        }
    show("student", {**figures, "load_after": os.getloadavg()})


def taught(
    teacher: torch.nn.Module,
    train: Any,
    test: Split,
    seed: int,
    seconds: float,
    width: int,
    *,
    alpha: float,
    features: Features,
) -> dict[str, Any]:
    """One training of `seconds`; the score on the test split, which chose nothing."""
    torch.manual_seed(seed)
    student = TinyConvNet(width).eval()
    config = TrainConfig(epochs=1000, batch_size=64, learning_rate=0.05, alpha=alpha, seed=seed, device="cpu")
    begun = time.monotonic()
    outcome = train_student(
        teacher,
        student,
        "student",
        (np.zeros((1, 1, 8, 8), np.float32),),
        train,
        lambda module: 0.0,  # chooses nothing
        config,
        limit=1.0,
        features=features,
        deadline=begun + seconds,
    )
    return {"top1": accuracy(outcome.module, test), "seconds": time.monotonic() - begun}


if __name__ == "__main__":
    main()
