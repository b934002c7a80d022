"""Repair without training where INT8 loses much: a MobileNetV2-like network with unequal channels, a small transformer.

usage: python benchmarks/repair.py --data DIR [--base FILE.safetensors] [--network mobilenet|vit|deit] [--images 2000]
       [--runtimes onnxruntime,litert,openvino] [--spread 16] [--no-times] [--work DIR]

Each recipe of a runtime's ladder that keeps all layers in int8 is built once, with nothing kept from the one before,
so its seconds are all that it takes on one thread. Beside them stand NNCF's ways (bias correction fast and full,
channel alignment, SmoothQuant) and AI Edge Quantizer's ways to calibrate, on the same 512 calibration images. The drop
is that of top-1 against the float network on the first test images; `back` is the share of what the runtime's first
recipe lost. Latencies are of interleaved rounds on one core, as ratios to that first recipe.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    interleaved_ms,
    normalized,
    openvino_runner,
    ort_runner,
    ratio,
    session_runner,
    show,
    top1,
    unpack,
)
from litert import peer, quantizer_alone
from safetensors.torch import load_file, save_file
from small_mobilenet import make, make_relu6, unequal
from small_vit import make as make_vit
from small_vit import make_small_deit, unequal_norms

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.board.machine import describe
from edgekit.compress import TrainConfig, finetune
from edgekit.data import make_splits, open_source
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import Recipe, ladder
from edgekit.types import Artifact, Candidate, Preprocess, Variant

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FIRST = {"onnxruntime": "int8-minmax", "litert": "int8-minmax", "openvino": "int8-nncf"}
CALIBRATED = 512
NETWORKS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "mobilenet": make,
    "vit": make_vit,
    "deit": make_small_deit,
}
Runner = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="the network's weights, trained before")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mobilenet")
    parser.add_argument("--spread", type=float, default=16.0, help="largest factor of a channel")
    parser.add_argument(
        "--epochs", type=float, default=2.0, help="of the network itself, where it is not given"
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runtimes", default="onnxruntime,litert,openvino")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    options = parser.parse_args()
    arrays = unpack(options.data, options.work)
    path = options.work / f"repair-{options.network}-{options.spread:g}.onnx"
    with np.load(arrays) as stored:
        calibration = normalized(stored["x_train"][:CALIBRATED])
        images, labels = normalized(stored["x_test"][: options.images]), stored["y_test"][: options.images]
    network = trained(options, arrays).eval()
    (unequal if options.network == "mobilenet" else unequal_norms)(network, options.spread)
    export_onnx(network, (calibration[:2],), path)
    right = top1(ort_runner(path), images, labels)
    told = {"network": options.network, "spread": options.spread, "images": len(labels)}
    told["float_top1_percent"] = round(100 * right.mean(), 2)
    with tempfile.TemporaryDirectory() as folder:
        for runtime in options.runtimes.split(","):
            runners, seconds = {}, {}
            for name, run, took in builds(runtime, path, calibration, Path(folder)):
                runners[f"{runtime} {name}"], seconds[f"{runtime} {name}"] = run, took
            first = f"{runtime} {FIRST[runtime]}"
            correct = {name: top1(run, images, labels) for name, run in runners.items()}
            times = {} if options.no_times else interleaved_ms(runners, images[:1], rounds=15, runs=60)
            lost, rows = right.mean() - correct[first].mean(), {}
            for name in runners:
                drop = right.mean() - correct[name].mean()
                rows[name] = {"drop_points": round(100 * drop, 2), "seconds": round(seconds[name], 1)}
                rows[name]["back"] = round(1.0 - drop / lost, 2) if lost > 0 else None
                if times:
                    middle, low, high = ratio(times[name], times[first])
                    rows[name]["latency_ratio"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
            show("repair", {**told, "runtime": runtime, **rows})


def trained(options: argparse.Namespace, arrays: Path) -> torch.nn.Module:
    """The network, with --base, with weights kept from before, or trained now."""
    network = NETWORKS[options.network]()
    kept = options.base or options.work / f"repair-{options.network}.safetensors"
    if kept.exists():
        network.load_state_dict(load_file(kept))
        return network
    preprocess = Preprocess(input_layout="nhwc", scale=255.0, mean=MEAN, std=STD)
    splits = make_splits(open_source(str(arrays), preprocess, options.work / "cache"), seed=0)
    assert splits.train is not None
    torch.manual_seed(0)
    taught = make_relu6() if options.network == "mobilenet" else network
    rate = 0.15 if options.network == "mobilenet" else 1e-3  # SGD and AdamW
    config = TrainConfig(epochs=options.epochs, learning_rate=rate, alpha=1.0)
    finetune(taught, splits.train, config, checkpoint=options.work / "repair.checkpoint.safetensors")
    save_file(taught.state_dict(), kept)
    network.load_state_dict(taught.state_dict())
    return network


def builds(
    runtime: str, path: Path, calibration: np.ndarray, folder: Path
) -> Iterator[tuple[str, Runner, float]]:
    """Name, what runs it, and how many seconds it took to make, of edgekit's recipes and of the runtime's own ways."""
    for recipe in ladder(FIRST[runtime]):
        if not recipe.keep_float:
            started = time.perf_counter()
            artifact = built(runtime, path, recipe, calibration, folder)
            yield recipe.name, opened(artifact), time.perf_counter() - started
    if runtime == "openvino":
        for name, make_one in nncf_ways(path, calibration).items():
            started = time.perf_counter()
            model = make_one()
            yield name, openvino_runner(model), time.perf_counter() - started
    if runtime == "litert":
        base = built(runtime, path, None, calibration, folder)
        started = time.perf_counter()
        ways = quantizer_alone(base, calibration)
        for name, content in ways.items():
            took = (time.perf_counter() - started) / len(ways)
            yield name, opened(peer(base, content, folder / name.replace(" ", "-"))), took


def built(runtime: str, path: Path, recipe: Recipe | None, calibration: np.ndarray, folder: Path) -> Artifact:
    """One build with nothing kept from another."""
    name = f"{runtime}-{recipe.name if recipe else 'float'}"
    out = folder / name
    out.mkdir()
    variant = Variant(
        "original", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )
    candidate = Candidate(
        name, "original", runtime, "int8" if recipe else "fp32", recipe.name if recipe else ""
    )
    data = CalibrationData(lambda: iter([(calibration,)]), len(calibration), "benchmark") if recipe else None
    features = frozenset(describe()["features"])
    return get_backend(runtime).export(
        ExportRequest(variant, candidate, find_target("generic-cpu"), features, out, recipe, data)
    )


def opened(artifact: Artifact) -> Runner:
    """An artifact as a function of one batch-1 input."""
    return session_runner(get_backend(artifact.backend).open(artifact))


def nncf_ways(path: Path, calibration: np.ndarray) -> Mapping[str, Callable[[], Any]]:
    """NNCF's own settings of its post-training quantization, the mixed preset for all."""
    import nncf
    import openvino as ov

    def quantized(*, fast: bool, **settings: Any) -> Any:
        model = ov.Core().read_model(path)
        name = model.input(0).any_name
        return nncf.quantize(
            model,
            nncf.Dataset(list(calibration), lambda image: {name: image[None]}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=fast,
            **settings,
        )

    smooth = nncf.AdvancedQuantizationParameters(
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=0.5, matmul=0.5)
    )
    aligned = nncf.AdvancedQuantizationParameters(disable_channel_alignment=False)
    return {
        "NNCF, fast bias correction": lambda: quantized(fast=True),
        "NNCF, full bias correction": lambda: quantized(fast=False),
        "NNCF, channel alignment": lambda: quantized(fast=False, advanced_parameters=aligned),
        "NNCF, transformer, SmoothQuant": lambda: quantized(
            fast=False, model_type=nncf.ModelType.TRANSFORMER, advanced_parameters=smooth
        ),
        "NNCF, SmoothQuant in convolutions": lambda: quantized(fast=False, advanced_parameters=smooth),
    }


if __name__ == "__main__":
    main()
