"""Q/DQ networks for TensorRT: their accuracy in ONNX Runtime against float, and what TensorRT-RTX compiles of them.

usage: python benchmarks/tensorrt.py --data DIR [--work DIR] [--recipes int8-minmax,int8-entropy,...]
DIR holds cifar10's unpack.py, resnet.py and resnet20.safetensors. Accuracy is on CIFAR-10's 8,000 test images; on
digits, on what is neither trained on nor calibrated with. Two networks are trained here first, for minutes, once.
Needs tensorrt_rtx_cu13 and no GPU: engines are compiled for SM86, SM89 and SM120 ahead of time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import normalized, show, unpack
from torch.nn import functional

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.board.tensorrt.build import build_engine
from edgekit.board.tensorrt.library import load_tensorrt
from edgekit.board.tensorrt.record import RECIPE, read_recipe
from edgekit.data import make_splits, open_source
from edgekit.demo.net import make as make_digits_net
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.graph.wiring import coverage
from edgekit.hardware import find_target
from edgekit.model import export_onnx, load_module, locate
from edgekit.quantize import find_recipe
from edgekit.testing.networks import DepthwiseNet, TinyTransformer
from edgekit.types import Artifact, Candidate, Precision, Preprocess, Variant

TARGET = "rtx-ada"
CHIPS = ("sm_86", "sm_89", "sm_120")
CALIBRATION = 512


@dataclass(frozen=True)
class Case:
    """A trained float network, its calibration inputs [N, ...], and labelled test inputs."""

    name: str
    network: torch.nn.Module
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--recipes", default="int8-minmax,int8-mse,int8-percentile,int8-entropy")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    rows = {}
    for case in cases(options.data, options.work):
        with tempfile.TemporaryDirectory() as folder:
            rows[case.name] = one(case, Path(folder), options.recipes.split(","))
        show(f"TensorRT Q/DQ: {case.name}", rows[case.name])
    misses = [
        f"{name}, {recipe}: {figures['drop_points']:+.2f} points"
        for name, row in rows.items()
        for recipe, figures in row["int8"].items()
        if figures["drop_points"] > 0.5
    ]
    show("TensorRT Q/DQ: more than 0.5 point below float", {"misses": misses})


def one(case: Case, folder: Path, recipes: list[str]) -> dict:
    """All figures of one network. Drops are points of top-1; positive is worse."""
    path = folder / "float.onnx"
    signature = export_onnx(case.network, (case.calibration[:2],), path)
    variant = Variant(
        "original", "original", None, "", str(path), sha256_file(path), signature, onnx_cost(path)
    )
    float_artifact = export(variant, "fp32", "", case, folder / "fp32")
    base = correct(float_artifact, case)
    figures: dict = {"test_samples": len(case.labels), "float_top1_percent": round(100 * base.mean(), 3)}
    half = export(variant, "fp16", "", case, folder / "fp16")
    figures["fp16"] = {**compared(correct(half, case), base), "compiled_s": compiled(half)}
    figures["int8"] = {}
    for recipe in recipes:
        artifact = export(variant, "int8", recipe, case, folder / recipe)
        figures["int8"][recipe] = {
            **compared(correct(artifact, case), base),
            **counted(artifact),
            "build_s": round(artifact.build_s, 2),
            "compiled_s": compiled(artifact),
        }
    return figures


def export(variant: Variant, precision: Precision, recipe: str, case: Case, folder: Path) -> Artifact:
    folder.mkdir()
    data = CalibrationData(lambda: iter([(case.calibration,)]), len(case.calibration), "benchmark")
    return get_backend("tensorrt").export(
        ExportRequest(
            variant, Candidate(recipe or precision, "original", "tensorrt", precision, recipe), find_target(TARGET),
            frozenset(), folder, find_recipe(recipe) if recipe else None, data if recipe else None,
        )
    )  # fmt: skip


def correct(artifact: Artifact, case: Case) -> np.ndarray:
    """Whether each test sample is classified correctly, bool [N], by the graph as ONNX Runtime computes it."""
    host = get_backend("tensorrt").on_host(artifact)
    with get_backend(host.backend).open(host) as session:
        name = session.signature["inputs"][0]["name"]
        answers = [next(iter(session.run({name: image[None]}).values())).argmax() for image in case.images]
    return np.asarray(answers) == case.labels


def compared(found: np.ndarray, base: np.ndarray) -> dict:
    return {
        "top1_percent": round(100 * float(found.mean()), 3),
        "drop_points": round(100 * float(base.mean() - found.mean()), 3),
    }


def counted(artifact: Artifact) -> dict:
    import onnx

    layers = coverage(onnx.load(str(Path(artifact.folder) / artifact.entry)))
    return {"between_qdq": len(layers.quantized), "not_between_qdq": len(layers.in_float)}


def compiled(artifact: Artifact) -> dict:
    """Chip → seconds that TensorRT-RTX took; an error ends the benchmark."""
    trt = load_tensorrt("tensorrt_rtx")
    recipe = read_recipe(str(Path(artifact.folder) / RECIPE))
    seconds = {}
    for chip in CHIPS:
        begin = time.perf_counter()
        build_engine(str(Path(artifact.folder) / artifact.entry), recipe, trt, chip)
        seconds[chip] = round(time.perf_counter() - begin, 2)
    return seconds


def cases(data: Path, work: Path) -> Iterator[Case]:
    """The demo's network and a ViT on digits; ResNet-20 and a MobileNetV2-like network on CIFAR-10."""
    splits = make_splits(open_source("digits", Preprocess(), work / "digits"), seed=0)
    assert splits.train is not None
    parts = {name: gather(getattr(splits, name)) for name in ("train", "calibration", "validation", "test")}
    images = np.concatenate([parts["validation"][0], parts["test"][0]])
    labels = np.concatenate([parts["validation"][1], parts["test"][1]])
    for name, make in (("digits", make_digits_net), ("vit-digits", lambda: TinyTransformer(width=64))):
        network = trained(make, *parts["train"], work / f"{name}.safetensors", epochs=30, batch=64)
        yield Case(name, network, parts["calibration"][0][:CALIBRATION], images, labels)
    with np.load(unpack(data, work)) as arrays:
        x, y = normalized(arrays["x_train"]), arrays["y_train"].astype(np.int64)
        images, labels = normalized(arrays["x_test"]), arrays["y_test"]
    resnet = load_module(locate(f"{data / 'resnet.py'}:make20", data / "resnet20.safetensors"))
    yield Case("resnet20-cifar10", resnet, x[:CALIBRATION], images, labels)
    network = trained(
        lambda: DepthwiseNet(width=16), x, y, work / "mobilenet.safetensors", epochs=6, batch=128
    )
    yield Case("mobilenetv2-like-cifar10", network, x[:CALIBRATION], images, labels)


def gather(split) -> tuple[np.ndarray, np.ndarray]:
    batches = list(split.batches(256))
    return np.concatenate([b.inputs[0] for b in batches]), np.concatenate([b.labels for b in batches])


def trained(
    make: Callable[[], torch.nn.Module],
    x: np.ndarray,
    y: np.ndarray,
    weights: Path,
    *,
    epochs: int,
    batch: int,
) -> torch.nn.Module:
    """AdamW and a one-cycle rate; kept in `weights`."""
    from safetensors.torch import load_file, save_file

    network = make()
    if weights.exists():
        network.load_state_dict(load_file(weights))
        return network.eval()
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    steps = -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs=epochs, steps_per_epoch=steps)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        shuffled = order.permutation(len(x))
        for start in range(0, len(x), batch):
            chosen = shuffled[start : start + batch]
            loss = functional.cross_entropy(network(torch.from_numpy(x[chosen])), torch.from_numpy(y[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    save_file(network.state_dict(), weights)
    return network.eval()


if __name__ == "__main__":
    main()
