"""Train the original ResNet-20 on, for as many epochs as its pruned child gets: the fair baseline.

usage: python benchmarks/further.py --data DIR --epochs 14 --out FILE.safetensors [--work DIR]
Plain cross-entropy, SGD with one cycle, crop and flip: what the child gets, without a teacher.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import normalized, unpack
from safetensors.torch import load_file, save_file
from torch.nn import functional

from edgekit.compress.training.accelerate import multiplies_bf16


def load_original(data: Path, weights: Path) -> torch.nn.Module:
    """ResNet-20 with the given weights."""
    sys.path.insert(0, str(data))
    import resnet

    network: torch.nn.Module = resnet.make20()
    network.load_state_dict(load_file(weights))
    return network.eval()


def export_original(data: Path, weights: Path, work: Path) -> Path:
    """As ONNX, batch 1."""
    path = work / f"{weights.stem}.onnx"
    if not path.exists():
        network = load_original(data, weights)
        example = torch.zeros(1, 3, 32, 32)
        torch.onnx.export(network, (example,), path, dynamo=True, external_data=False, verbose=False)
    return path


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [N, H, W, 3] with zero padding of 4, random crop and horizontal flip."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    top, left = rng.integers(0, 9, count), rng.integers(0, 9, count)
    rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
    flip = rng.random(count) < 0.5
    columns[flip] = columns[flip, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    options = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    with np.load(unpack(options.data, options.work)) as z:
        images, labels = z["x_train"], z["y_train"]
    network = load_original(options.data, options.data / "resnet20.safetensors")
    network = network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9, nesterov=True, weight_decay=1e-4)
    steps = len(images) // 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.02, epochs=options.epochs, steps_per_epoch=steps
    )
    started = time.perf_counter()
    for epoch in range(options.epochs):
        order = rng.permutation(len(images))
        for step in range(steps):
            chosen = order[step * 128 : (step + 1) * 128]
            x = torch.from_numpy(normalized(augmented(images[chosen], rng)))
            with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bf16("cpu")):  # as edgekit trains
                answers = network(x.to(memory_format=torch.channels_last))
            loss = functional.cross_entropy(answers.float(), torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{options.epochs}, {time.perf_counter() - started:.0f} s", flush=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, options.out)


if __name__ == "__main__":
    main()
