"""LiteRT: full-integer INT8 against float and against AI Edge Quantizer's own calibrations, on three networks.

usage: python benchmarks/litert.py --data DIR [--work DIR] [--only digits,resnet20,mobilenet]
DIR holds cifar10's unpack.py, resnet.py and resnet20.safetensors. The demo's network and ResNet-20 are the trained
ones; a MobileNetV2-like network at 96×96 is trained for some minutes on digits blown up to that size. All INT8
builds of a network are calibrated with the same samples. Test images only are scored.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import interleaved_ms, normalized, ratio, show, unpack

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.backends.litert.audit import float_compute
from edgekit.backends.litert.flatbuffer import LAYOUT, read_flatbuffer, read_ops
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import find_recipe
from edgekit.types import Artifact, Candidate, Variant

CALIBRATION = 512
LADDER = ("int8-minmax", "int8-mse", "int8-percentile", "int8-entropy", "int8-mixed", "int8-mixed-quarter")
CLOSE_ENOUGH = 0.005  # a build with --max-drop 1% stops climbing at half of it


@dataclass(frozen=True)
class Task:
    """A trained network, and arrays [N, C, H, W] with labels."""

    name: str
    network: Any
    calibration: np.ndarray
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--only", default="digits,resnet20,mobilenet")
    options = parser.parse_args()
    makers = {
        "digits": lambda: digits(options.work),
        "resnet20": lambda: resnet20(options.data, options.work),
        "mobilenet": lambda: mobilenet(options.work),
    }
    for name in options.only.split(","):
        show(f"LiteRT, {name}", measure(makers[name](), options.work / "litert" / name))


def measure(task: Task, work: Path) -> dict[str, Any]:
    """Every build of one network: operations, accuracy, latency."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "network.onnx"
    signature = export_onnx(task.network, (task.calibration[:1],), path)
    variant = Variant("original", "original", None, "", str(path), "", signature, onnx_cost(path))
    builds = {"fp32": export(variant, "fp32", "", task, work)}
    for recipe in LADDER:
        builds[recipe] = export(variant, "int8", recipe, task, work)
    builds["fp16"] = export(variant, "fp16", "", task, work)
    builds["int8-dynamic"] = export(variant, "int8-dynamic", "", task, work)
    for name, content in quantizer_alone(builds["fp32"], task.calibration).items():
        builds[name] = peer(builds["fp32"], content, work / name)
    right = {name: scores(artifact, *task.test) for name, artifact in builds.items()}
    drops = {name: scores(builds["fp32"], *task.validation).mean() - scores(builds[name], *task.validation).mean()
             for name in LADDER}  # fmt: skip
    pick = next(
        (name for name in LADDER if drops[name] <= CLOSE_ENOUGH), min(drops, key=lambda name: drops[name])
    )
    timed = ("fp32", "fp16", "int8-dynamic", pick)
    times = latencies({name: builds[name] for name in timed}, task.test[0][:1])
    base = right["fp32"].mean()
    peers = {name: right[name].mean() for name in builds if name.startswith("AI Edge")}
    best = max(peers, key=lambda name: peers[name])
    return {
        "million MACs": round(variant.cost.macs / 1e6, 1),
        "test images": len(task.test[1]),
        "the ladder stops at": pick,
        "float compute operations": len(float_compute(ops_of(builds[pick]))),
        "layout operations": sum(op.kind in LAYOUT for op in ops_of(builds[pick])),
        "operations": dict(Counter(op.kind for op in ops_of(builds[pick]))),
        "XNNPACK": builds[pick].audit.notes[-1],
        "top1 percent": {name: round(100 * float(each.mean()), 2) for name, each in right.items()},
        "points below float": round(100 * float(base - right[pick].mean()), 2),
        "points below the quantizer's best": round(100 * float(peers[best] - right[pick].mean()), 2),
        "the quantizer's best": best,
        "ms": {name: round(float(np.median(each)), 4) for name, each in times.items()},
        "ratio to float": {
            name: "{:.3f} [{:.3f}, {:.3f}]".format(*ratio(times[name], times["fp32"])) for name in timed
        },
        "kB": {name: round(builds[name].size_bytes / 1e3) for name in timed},
        "export s": {name: round(builds[name].build_s, 1) for name in timed},
    }


def export(variant: Variant, precision: Any, recipe: str, task: Task, work: Path) -> Artifact:
    """One candidate, as a build would export it."""
    folder = work / (recipe or precision)
    folder.mkdir(exist_ok=True)
    samples = task.calibration
    data = CalibrationData(lambda: iter([(samples,)]), len(samples), "")
    candidate = Candidate(f"{task.name}-{recipe or precision}", "original", "litert", precision, recipe)
    target = find_target("generic-cpu")
    chosen = find_recipe(recipe) if recipe else None
    return get_backend("litert").export(
        ExportRequest(variant, candidate, target, frozenset(), folder, chosen, data if chosen else None)
    )


def quantizer_alone(base: Artifact, samples: np.ndarray) -> dict[str, bytes]:
    """The float .tflite by AI Edge Quantizer alone, with each of its ways to calibrate; float in and out."""
    from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe
    from ai_edge_quantizer.utils import qsv_utils

    content = (Path(base.folder) / base.entry).read_bytes()
    images = [{"args_0": image[None].transpose(0, 2, 3, 1).copy()} for image in samples]
    found = {}
    for name, update in (
        ("moving average", qsv_utils.moving_average_update),
        ("min-max", qsv_utils.min_max_update),
    ):
        one = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        for kind in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            one.update_quantization_recipe(".*", kind, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE)
        watcher = calibrator.Calibrator(content, num_threads=1, qsv_update_func=update)
        watcher.calibrate({"serving_default": images}, one._recipe_manager)
        result = one.quantize(watcher.get_model_qsvs(), enable_progress_report=False)
        found[f"AI Edge Quantizer, {name}"] = bytes(result.quantized_model)
    return found


def peer(base: Artifact, content: bytes, folder: Path) -> Artifact:
    """A .tflite made elsewhere, run like ours."""
    from dataclasses import replace

    folder.mkdir(exist_ok=True)
    (folder / base.entry).write_bytes(content)
    return replace(base, folder=str(folder))


def ops_of(artifact: Artifact) -> tuple[Any, ...]:
    return read_ops(read_flatbuffer(Path(artifact.folder) / artifact.entry))


def scores(artifact: Artifact, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each image is classified correctly, bool [N], batch 1."""
    with get_backend("litert").open(artifact) as session:
        (name,) = (each["name"] for each in session.signature["inputs"])
        answers = [next(iter(session.run({name: image[None]}).values())).argmax() for image in images]
    return np.array(answers) == labels


def latencies(artifacts: dict[str, Artifact], image: np.ndarray) -> dict[str, list[float]]:
    """Medians of interleaved rounds, inputs in place, one thread."""
    sessions = {name: get_backend("litert").open(artifact) for name, artifact in artifacts.items()}
    for session in sessions.values():
        session.bind({session.signature["inputs"][0]["name"]: image})
    return interleaved_ms({name: lambda _x, one=one: one.step() for name, one in sessions.items()}, image)


def digits(work: Path) -> Task:
    """The demo's network, trained as `make demo` does."""
    import torch
    from safetensors.torch import load_file

    from edgekit.demo.__main__ import train
    from edgekit.demo.net import make

    weights = work / "digits.safetensors"
    if not weights.exists():
        train(weights)
    network = make()
    network.load_state_dict(load_file(weights))
    torch.manual_seed(0)
    return Task("digits", network.eval(), *digit_arrays())


def digit_arrays(
    size: int = 8,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Calibration (of the training part), validation and test images of the built-in digits, [N, 1, size, size]."""
    from edgekit.data import make_splits, open_source
    from edgekit.types import Preprocess

    splits = make_splits(open_source("digits", Preprocess(), Path(".")), seed=0)
    made = []
    for split in (splits.train, splits.validation, splits.test):
        batches = list(split.batches(256))
        images = np.concatenate([batch.inputs[0] for batch in batches])
        labels = np.concatenate([batch.labels for batch in batches])
        made.append((np.repeat(np.repeat(images, size // 8, 2), size // 8, 3), labels))
    return made[0][0][:CALIBRATION], made[1], made[2]


def resnet20(data: Path, work: Path) -> Task:
    from safetensors.torch import load_file

    arrays = unpack(data, work)
    sys.path.insert(0, str(data))
    spec = importlib.util.spec_from_file_location("resnet", data / "resnet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.make20()
    network.load_state_dict(load_file(data / "resnet20.safetensors"))
    with np.load(arrays) as z:
        x_train, y_train = z["x_train"], z["y_train"]
        test = normalized(z["x_test"]), z["y_test"]
    calibration = normalized(x_train[:CALIBRATION])
    validation = (
        normalized(x_train[CALIBRATION : CALIBRATION + 2000]),
        y_train[CALIBRATION : CALIBRATION + 2000],
    )
    return Task("resnet20", network.eval(), calibration, validation, test)


def mobilenet(work: Path) -> Task:
    """Trained once, on digits of 96×96 pixels."""
    import torch
    from mobilenet import make
    from safetensors.torch import load_file, save_file

    weights = work / "mobilenet.safetensors"
    calibration, validation, test = digit_arrays(96)
    torch.manual_seed(0)
    network = make()
    if not weights.exists():
        train_on_digits(network)
        save_file(network.state_dict(), weights)
    network.load_state_dict(load_file(weights))
    return Task("mobilenet", network.eval(), calibration, validation, test)


def train_on_digits(network: Any, epochs: int = 6) -> None:
    """Plain supervised training; images are blown up batch by batch."""
    import torch
    from torch.nn import functional

    from edgekit.data import make_splits, open_source
    from edgekit.types import Preprocess

    splits = make_splits(open_source("digits", Preprocess(), Path(".")), seed=0)
    steps = -(-len(splits.train) // 32)
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs=epochs, steps_per_epoch=steps)
    for epoch in range(epochs):
        for batch in splits.train.batches(32, shuffle_seed=epoch):
            images = functional.interpolate(torch.from_numpy(batch.inputs[0]), scale_factor=12)
            loss = functional.cross_entropy(network(images), torch.from_numpy(batch.labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"mobilenet, epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
