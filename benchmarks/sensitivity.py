"""Does predicted harm rank plans as training does? ResNet-20 on CIFAR-10: random widths and dropped blocks.

usage: python benchmarks/sensitivity.py --data DIR [--plans 12] [--train 8192] [--epochs 1] [--work DIR]

Prints Spearman's correlation of the drop in accuracy after a short distillation with the harm predicted before it,
and with the share of MACs removed. A plan's training takes one or two minutes of one core. What is finished is kept in
WORK, so that a stopped run goes on. Accuracy is on the 2,000 validation images (standard error about 0.7 point).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from common import normalized, show, unpack
from further import load_original
from scipy.stats import spearmanr

from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    Samples,
    Sensitivity,
    SensitivityConfig,
    TrainConfig,
    accuracy,
    apply_plan,
    finetune,
    measure_sensitivity,
    propose_depth,
    propose_widths,
    sensitivity_parts,
)
from edgekit.data import Split, from_arrays
from edgekit.files import sha256_file

EXAMPLE = (np.zeros((1, 3, 32, 32), np.float32),)
PRUNING = PruneConfig(round_to=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument(
        "--train", type=int, default=8192, help="training images that each plan sees in an epoch"
    )
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(unpack(options.data, options.work)) as z:
        train = samples("train", normalized(z["x_train"][: options.train]), z["y_train"][: options.train])
        validation = samples("validation", normalized(z["x_val"]), z["y_val"])
    weights = options.data / "resnet20.safetensors"
    original = load_original(options.data, weights)
    folder = options.work / "sensitivity"
    folder.mkdir(parents=True, exist_ok=True)

    sensitivity, seconds = measured(original, sha256_file(weights), train, folder)
    config = TrainConfig(epochs=options.epochs, learning_rate=0.02)
    baseline = accuracy(original, validation) or 0.0
    rows = []
    for seed in range(options.plans):
        plan = random_plan(original, sensitivity, train, seed)
        reached = trained(original, plan, train, validation, config, folder)
        rows.append(
            {
                "harm": round(sensitivity.harm_of(plan), 4),
                "macs_percent": round(100 * plan.fraction, 1),
                "dropped": list(plan.dropped),
                "drop_points": round(100 * (baseline - reached), 2),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    drops = [row["drop_points"] for row in rows]
    show(
        "predicted harm against accuracy after a short training",
        {
            "sensitivity_cpu_s": round(seconds, 1),
            "baseline_percent": round(100 * baseline, 2),
            "spearman_harm": round(float(spearmanr([row["harm"] for row in rows], drops)[0]), 3),
            "spearman_macs": round(float(spearmanr([-row["macs_percent"] for row in rows], drops)[0]), 3),
            "plans": rows,
        },
    )


def samples(name: str, x: np.ndarray, y: np.ndarray) -> Split:
    """All of these arrays as a split."""
    return Split(name, from_arrays(x, y), np.arange(len(x)))


def measured(network: torch.nn.Module, digest: str, data: Split, folder: Path) -> tuple[Sensitivity, float]:
    """The sensitivity of the original, and the processor seconds that it took; kept in `folder`."""
    config = SensitivityConfig()
    path = folder / f"sensitivity-{key(sensitivity_parts(digest, data.digest, PRUNING, config))}.json"
    if not path.exists():
        begun = time.process_time()
        harms = measure_sensitivity(network, EXAMPLE, data, PRUNING, config)
        path.write_text(json.dumps({"cpu_s": time.process_time() - begun, "sensitivity": harms.to_json()}))
    kept = json.loads(path.read_text())
    return Sensitivity.from_json(kept["sensitivity"]), kept["cpu_s"]


def random_plan(network: torch.nn.Module, sensitivity: Sensitivity, data: Samples, seed: int) -> PrunePlan:
    """Up to three blocks gone, and some of the other groups at a width of their own."""
    chance = np.random.default_rng(seed)
    names = [block.name for block in sensitivity.blocks]
    dropped = sorted(chance.choice(names, chance.integers(0, 4), replace=False).tolist())
    widths = {}
    for group in sensitivity.groups:
        narrowed = chance.random() < 0.6
        width = max(4, int(group.width * chance.choice([0.25, 0.5, 0.75])))
        if narrowed and not group.layer.startswith(tuple(f"{name}." for name in dropped)):
            widths[group.layer] = width
    depth = propose_depth(network, EXAMPLE, dropped)
    shallow = apply_plan(network, EXAMPLE, depth)
    return depth.then(propose_widths(shallow, EXAMPLE, widths, PRUNING, data))


def trained(
    original: torch.nn.Module,
    plan: PrunePlan,
    train: Split,
    validation: Split,
    config: TrainConfig,
    folder: Path,
) -> float:
    """Accuracy of the network that the plan makes, distilled from the original; kept in `folder`."""
    path = folder / f"plan-{key([plan.to_json(), config.digest, train.digest])}.json"
    if not path.exists():
        network = apply_plan(original, EXAMPLE, plan)
        finetune(network, train, config, teacher=original)
        path.write_text(json.dumps({"accuracy": accuracy(network, validation)}))
    return float(json.loads(path.read_text())["accuracy"])


def key(parts: object) -> str:
    """A short digest of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
