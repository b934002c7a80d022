"""Quantization-aware training where INT8 loses much: a MobileNetV2-like network with unequal channels on CIFAR-10.

usage: python benchmarks/qat.py --data DIR [--spread 16] [--qat-epochs 1] [--base FILE.safetensors] [--work DIR]
       [--runtimes onnxruntime,openvino,litert]

Trains the network (or takes --base), makes its channels unequal without changing what it computes, and builds it for
ONNX Runtime, OpenVINO and LiteRT with --qat always. For each runtime: what INT8 loses at best without training, on the
2,000 validation images; what it loses trained; how much of the loss is back; and on how many predictions the runtime
and the simulation agree.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from common import PREPROCESS, edgekit, show, unpack
from safetensors.torch import load_file, save_file
from small_mobilenet import make, make_relu6, unequal

from edgekit.compress import TrainConfig, accuracy, finetune
from edgekit.data import make_splits, open_source
from edgekit.types import Preprocess

HERE = Path(__file__).parent
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


REPAIRED = ("equalized", "adaround")
"""How recipes end that repair the network first; training begins with the network as it is."""


def base_weights(arrays: Path, work: Path, epochs: float) -> Path:
    """Trained from scratch with ReLU6; kept."""
    path = work / "small-mobilenet.safetensors"
    if not path.exists():
        source = open_source(
            str(arrays), Preprocess(input_layout="nhwc", scale=255.0, mean=MEAN, std=STD), work / "cache"
        )
        splits = make_splits(source, seed=0)
        assert splits.train is not None
        torch.manual_seed(0)
        network = make_relu6()
        config = TrainConfig(epochs=epochs, learning_rate=0.15, alpha=1.0)
        finetune(network, splits.train, config, checkpoint=work / "small-mobilenet.checkpoint.safetensors")
        print(f"trained for {epochs:g} epochs: {accuracy(network, splits.validation):.2%} on validation")
        save_file(network.state_dict(), path)
    return path


def figures_of(result: dict[str, Any], runtimes: list[str]) -> dict[str, dict[str, Any]]:
    """Per runtime, drops in points: the best INT8 without training, that with layers in float too, the trained one."""
    told = "\n".join(line for variant in result["variants"] for line in variant["history"])
    figures = {}
    for backend in runtimes:
        title = TITLES[backend]
        of_it = [
            row for row in result["candidates"] if row["backend"] == backend and row["precision"] == "int8"
        ]
        drops = {row["recipe"]: 100 * row["accuracy"]["drop"] for row in of_it}
        trained = drops.pop("int8-trained", None)
        repaired = [drop for recipe, drop in drops.items() if recipe.endswith(REPAIRED)]
        drops = {recipe: drop for recipe, drop in drops.items() if not recipe.endswith(REPAIRED)}
        whole = [drop for recipe, drop in drops.items() if "mixed" not in recipe]
        if trained is None or not whole:
            figures[title] = {"missing": "no INT8 build, or none trained; see the report"}
            continue
        agreement = re.search(rf"{title} and the simulation agree on ([\d.]+%)", told)
        figures[title] = {
            "ptq_drop": round(min(whole), 2),
            "ptq_drop_with_layers_in_float": round(min(drops.values()), 2),
            "repaired_drop": round(min(repaired), 2) if repaired else None,
            "qat_drop": round(trained, 2),
            "back": round((min(whole) - trained) / min(whole), 2) if min(whole) > 0 else None,
            "agreement": agreement[1] if agreement else None,
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--spread", type=float, default=16.0, help="largest factor of a channel")
    parser.add_argument("--epochs", type=float, default=8.0, help="of the network itself")
    parser.add_argument("--qat-epochs", type=float, default=1.0)
    parser.add_argument("--base", type=Path, help="the network's weights, trained before")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--runtimes", default=",".join(TITLES))
    options = parser.parse_args()
    arrays = unpack(options.data, options.work)
    base = options.base or base_weights(arrays, options.work, options.epochs)
    network = make()
    network.load_state_dict(load_file(base))
    unequal(network, options.spread)
    weights = options.work / f"unequal-{options.spread:g}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, weights)
    out = options.work / f"qat-{options.spread:g}"
    edgekit(
        "build", "--target", "generic-cpu", "--model", f"{HERE / 'small_mobilenet.py'}:make", "--weights", str(weights),
        "--data", str(arrays), *PREPROCESS, "--no-prune", "--qat", "always", "--qat-epochs", str(options.qat_epochs),
        "--runtime", options.runtimes, "--precision", "fp32,int8", "--timed", "0.3s", "--no-repeat", "--out", str(out),
        "--store", str(options.work / "store"),
    )  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    histories = {variant["id"]: variant["history"] for variant in result["variants"]}
    show(
        "qat",
        {"spread": options.spread, **figures_of(result, options.runtimes.split(",")), "histories": histories},
    )


if __name__ == "__main__":
    main()
