"""Vision transformer to mobile: a DeiT-like teacher into a MobileViT-like student on CIFAR-10, pruned, in INT8.

usage: python benchmarks/scenarios/mobile.py --data DIR [--work DIR] [--epochs 12] [--student-epochs 10] [--threads 1]

DIR holds CIFAR-10 with its unpack.py, as the other benchmarks take it. Teacher and student are small enough to be
trained on a CPU: 32×32 images, 64 tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mobile_networks import make_deit
from scenario import CIFAR10, CIFAR10_OPTIONS, HERE, Claim, build, show_beside, trained, unpack

from edgekit.compress import TrainConfig
from edgekit.data import make_splits, open_source

CLAIM = Claim(faster=2.0, smaller=4.0, points=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench/mobile"))
    parser.add_argument("--epochs", type=float, default=12.0, help="of the teacher's training")
    parser.add_argument("--student-epochs", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--build-option", action="append", default=[], help="a further word for the build")
    asked = parser.parse_args()
    arrays = unpack(asked.data, asked.work)
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    splits = make_splits(open_source(str(arrays), CIFAR10, asked.work / "cache"), seed=0)
    assert splits.train is not None
    config = TrainConfig(epochs=asked.epochs, learning_rate=1e-3, weight_decay=0.05, alpha=1.0)
    weights = asked.work / "deit.safetensors"
    trained(make_deit(), splits.train, config, weights)
    networks = HERE / "mobile_networks.py"
    result = build(
        asked.work / "out", "--model", f"{networks}:make_deit", "--weights", str(weights), "--data", str(arrays),
        *CIFAR10_OPTIONS, "--student", f"{networks}:make_mobilevit", "--epochs", str(asked.student_epochs),
        "--compress", "student", "--runtime", "onnxruntime,litert", "--precision", "fp32,int8", "--max-latency", "auto",
        "--max-drop", f"{CLAIM.points}%", *asked.build_option,
    )  # fmt: skip
    show_beside("mobile", result, CLAIM)


if __name__ == "__main__":
    main()
