"""Layers in float where full INT8 loses too much: chosen by harm alone, and by harm against measured time.

usage: python benchmarks/mixed_precision.py --data DIR [--work DIR] [--epochs 5] [--lock FILE]
       [--runtimes onnxruntime,openvino,litert] [--time-shares 0.05,0.1,0.25]

DIR holds cifar10's unpack.py. A narrow MobileNetV2-like network is trained on CIFAR-10 as it is (with ReLU and without
weight decay: nothing holds its activations together), and kept in the work folder. Recipes are chosen on the 2,000
validation images, top-1 is of the 8,000 test images; all latencies of a runtime are of the interleaved rounds of one
job. NNCF's own accuracy control stands beside OpenVINO's rows.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from common import normalized, unpack
from torch import nn

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.board.machine import describe
from edgekit.devices import LocalDevice
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.hardware import find_target
from edgekit.latency import LatencyTable, open_table, save_table
from edgekit.latency.measuring import TimingOptions, describe_device, measure_exactly, measure_wholes
from edgekit.latency.precisions import precision_graph
from edgekit.model import export_onnx
from edgekit.quantize import PrecisionTimes, Recipe, find_recipe, ladder
from edgekit.types import Artifact, Candidate, Variant

WHOLE = TimingOptions(rounds=25, seconds=0.6)
LADDER = {"onnxruntime": "int8-minmax", "litert": "int8-minmax", "openvino": "int8-nncf"}
STAGES = ((2, 16, 1, 1), (4, 24, 2, 2), (4, 32, 3, 2), (4, 64, 2, 2))
"""Expansion, channels, repeats, stride of the first."""

BATCH, LEARNING_RATE = 128, 0.4


class Residual(nn.Module):
    """Widen, convolve each channel alone, narrow; a shortcut where shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = channels_in * expansion
        self.body = nn.Sequential(
            *convolution(channels_in, middle, 1),
            *convolution(middle, middle, 3, stride, groups=middle),
            nn.Conv2d(middle, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    made = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return made, nn.BatchNorm2d(channels_out), nn.ReLU()


def network() -> nn.Module:
    """float32 [N, 3, 32, 32] → logits [N, 10]; 5.1 million MACs."""
    layers: list[nn.Module] = [*convolution(3, 16, 3)]
    channels = 16
    for expansion, width, repeats, stride in STAGES:
        for index in range(repeats):
            layers.append(Residual(channels, width, stride if index == 0 else 1, expansion))
            channels = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*layers, *convolution(channels, 128, 1), *head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench/mixed"))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--runtimes", default="onnxruntime,openvino,litert")
    parser.add_argument("--time-shares", default="0.05,0.1,0.25")
    parser.add_argument("--lock", type=Path, help="a file that is locked while anything is timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrays = unpack(options.data, options.work)
    with np.load(arrays) as z:
        data = {name: (normalized(z[f"x_{name}"]), z[f"y_{name}"]) for name in ("val", "test")}
        calibration = normalized(z["x_train"][-512:])
        path = options.work / "float.onnx"
        if not path.exists():
            trained = train(z["x_train"][:-512], z["y_train"][:-512], options.epochs)
            export_onnx(trained, (np.zeros((1, 3, 32, 32), np.float32),), path)
    facts = describe()
    answer: dict[str, Any] = {"machine": facts["machine"], "cpu": facts["cpu"], "versions": facts["versions"]}
    for runtime in options.runtimes.split(","):
        bench = Bench(runtime, path, calibration, options.work / runtime, options.lock)
        shares = [float(share) for share in options.time_shares.split(",")]
        answer[runtime] = bench.compare(data, shares)
        (options.work / f"{runtime}.json").write_text(json.dumps(answer[runtime], indent=1))
    print(json.dumps(answer, indent=1))


def train(images: np.ndarray, labels: np.ndarray, epochs: int) -> nn.Module:
    """SGD with a one-cycle rate; images are shifted and mirrored."""
    torch.manual_seed(0)
    x, y = torch.from_numpy(normalized(images)), torch.from_numpy(labels.astype(np.int64))
    model = network().to(memory_format=torch.channels_last)
    steps = len(x) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.2
    )
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            batch = x[chosen].flip(3) if torch.rand(1) < 0.5 else x[chosen]
            shift = [int(value) for value in torch.randint(-3, 4, (2,))]
            batch = torch.roll(batch, shift, (2, 3)).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(batch)
            loss = nn.functional.cross_entropy(logits.float(), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval().float().to(memory_format=torch.contiguous_format)


class Bench:
    """One runtime: its artifacts in `folder`, what they answer, how long they take."""

    def __init__(self, runtime: Any, path: Path, calibration: np.ndarray, folder: Path, lock: Path | None):
        self.runtime, self.path, self.folder, self.lock = runtime, path, folder, lock
        self.target, self.features = find_target("generic-cpu"), frozenset(describe()["features"])
        self.data = CalibrationData(
            lambda: ((calibration[at : at + 32],) for at in range(0, len(calibration), 32)),
            len(calibration),
            "the last training images",
        )
        self.memo: dict[bytes, bytes] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.device = LocalDevice(folder / "device")

    def compare(self, data: dict[str, Any], shares: list[float]) -> dict[str, Any]:
        made: dict[str, Artifact] = {"float": self.artifact("float", None)}
        recipes = [recipe for recipe in ladder(LADDER[self.runtime]) if self.runtime in recipe.backends]
        full = {
            recipe.name: self.artifact(recipe.name, recipe) for recipe in recipes if not recipe.keep_float
        }
        scores = {name: self.top1(artifact, *data["val"]) for name, artifact in full.items()}
        best = max(scores, key=lambda name: scores[name])
        made[f"int8: {best}"] = full[best]
        started = time.perf_counter()
        times = self.times()
        times_s = time.perf_counter() - started
        base = find_recipe("int8-nncf-mixed" if self.runtime == "openvino" else "int8-mixed")
        for count in (0.1, 0.25):
            recipe = msgspec.structs.replace(base, keep_float=count, float_time=0.0)
            made[f"by harm alone, {count:.0%} of the layers"] = self.artifact(f"harm-{count}", recipe)
        for share in shares:
            recipe = msgspec.structs.replace(base, float_time=share)
            made[f"by harm and time, {share:.0%} of the time"] = self.artifact(f"time-{share}", recipe, times)
        control_s = 0.0
        if self.runtime == "openvino":
            made["NNCF's accuracy control"], control_s = self.accuracy_control(data["val"])
        with locked(self.lock):
            load = os.getloadavg()[0]
            measured = measure_wholes(self.device, made, WHOLE)
        int8_ms = measured[f"int8: {best}"].value
        rows = {}
        for name, artifact in made.items():
            kept = artifact.quantization.in_float if artifact.quantization else ()
            rows[name] = {
                "top1": round(100 * self.top1(artifact, *data["test"]), 2),
                "ms": [
                    round(value, 4)
                    for value in (measured[name].value, measured[name].low, measured[name].high)
                ],
                "of_int8": round(measured[name].value / int8_ms, 3),
                "in_float": [
                    f"{layer.name} ({layer.extra_ms * 1e3:+.1f} us, {layer.noise:.1%} of the noise)"
                    if layer.extra_ms is not None and layer.noise is not None
                    else layer.name
                    for layer in kept
                    if layer.reason in ("sensitive", "between")
                ],
                "notes": [note for note in artifact.audit.notes if note.startswith("In float by")],
            }
        return {"load": round(load, 1), "table_s": round(times_s), "control_s": round(control_s),
                "validation": scores, "rows": rows}  # fmt: skip

    def artifact(self, name: str, recipe: Recipe | None, times: PrecisionTimes | None = None) -> Artifact:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        variant = Variant("original", "original", None, "", str(self.path), sha256_file(self.path),
                          read_signature(self.path), onnx_cost(self.path))  # fmt: skip
        request = ExportRequest(
            variant, Candidate(name, "original", self.runtime, "int8" if recipe else "fp32", recipe.name if recipe else ""),
            self.target, self.features, place, recipe, self.data if recipe else None, memo=self.recall, times=times,
        )  # fmt: skip
        return get_backend(self.runtime).export(request)

    def recall(self, stage: str, parts: Any, make: Any) -> bytes:
        key = msgspec.json.encode((stage, parts), order="sorted")
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def times(self) -> PrecisionTimes:
        """Of the layers in both precisions, and of transitions; measured where an earlier run has not."""
        path = self.folder / "table.json"
        graph = precision_graph(self.path, self.runtime)
        table: LatencyTable = open_table(path, describe_device(self.device, self.runtime, 1))
        with locked(self.lock):
            table = measure_exactly(self.device, table, graph.wanted())
        save_table(table, path)
        return graph.times(table)

    def top1(self, artifact: Artifact, images: np.ndarray, labels: np.ndarray) -> float:
        with get_backend(self.runtime).open(artifact) as session:
            name = next(iter(session.signature["inputs"]))["name"]
            right = [
                next(iter(session.run({name: images[at : at + 1]}).values())).argmax() == labels[at]
                for at in range(len(images))
            ]
        return float(np.mean(right))

    def accuracy_control(self, validation: Any) -> tuple[Artifact, float]:
        """NNCF's: at most half a point lost on the validation images. Gives the seconds that it took, too."""
        import nncf
        import openvino as ov

        images, labels = validation
        started = time.perf_counter()
        model = ov.Core().read_model(self.path)
        name = model.input(0).any_name
        samples = nncf.Dataset(
            list(np.concatenate([chunk[0] for chunk in self.data.chunks(1, 300)])[:, None]),
            lambda x: {name: x},
        )
        held = nncf.Dataset(list(range(len(images))), lambda at: (images[at : at + 1], labels[at]))

        def validate(compiled: Any, items: Any) -> float:
            return float(
                np.mean([next(iter(compiled(image).values())).argmax() == label for image, label in items])
            )

        quantized = nncf.quantize_with_accuracy_control(
            model, calibration_dataset=samples, validation_dataset=held, validation_fn=validate, max_drop=0.005,
            preset=nncf.QuantizationPreset.MIXED,
        )  # fmt: skip
        place = self.folder / "control"
        place.mkdir(exist_ok=True)
        ov.save_model(quantized, place / "model.xml", compress_to_fp16=False)
        took = time.perf_counter() - started
        return Artifact("control", "openvino", str(place), "model.xml", (), 0, 0.0,
                        options={"INFERENCE_PRECISION_HINT": "f32"}), took  # fmt: skip


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Nobody else measures meanwhile, where all keep to this file."""
    if path is None:
        yield
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
