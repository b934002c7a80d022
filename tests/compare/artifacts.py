"""Artifacts of one small network in several runtimes, for tests that compare them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.compare import CompareSamples
from edgekit.graph import CalibrationData
from edgekit.hardware import find_target
from edgekit.quantize import find_recipe
from edgekit.testing.onnx_networks import as_variant, residual_network, samples
from edgekit.types import Artifact, BackendName, Candidate, Precision

RECIPES: dict[BackendName, str] = {"onnxruntime": "int8-minmax", "openvino": "int8-nncf-mse"}
DATA = CalibrationData(lambda: iter([(samples(40),), (samples(24, 4),)]), 64, "digest")

TFLITE_SOURCE = """
import sys, torch, numpy as np, litert_torch
from ai_edge_quantizer import quantizer, recipe

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 8, (5, 3), padding=(2, 1), stride=2)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = torch.nn.Conv2d(8, 16, 1)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x):
        for layer in (self.stem, self.depthwise, self.pointwise):
            x = torch.relu(layer(x))
        return self.head(x.mean((2, 3)))

torch.manual_seed(0)
net, folder = Net().eval(), sys.argv[1]
images = np.random.default_rng(0).standard_normal((32, 1, 12, 10)).astype(np.float32)
last = litert_torch.to_channel_last_io(net, args=[0]).eval()
nhwc = images.transpose(0, 2, 3, 1).copy()
litert_torch.convert(last, (torch.from_numpy(nhwc[:1]),)).export(folder + "/float.tflite")
made = quantizer.Quantizer(folder + "/float.tflite", recipe.static_wi8_ai8())
calibration = made.calibrate({"serving_default": [{"args_0": sample[None]} for sample in nhwc]})
made.quantize(calibration).export_model(folder + "/int8.tflite")
torch.onnx.export(net, (torch.from_numpy(images[:1]),), folder + "/float.onnx", dynamo=False,
                  input_names=["image"], output_names=["scores"])
np.savez(folder + "/images.npz", x=images)
"""


def exported(folder: Path, backend: BackendName, precision: Precision = "fp32") -> Artifact:
    """The residual network as the backend makes it."""
    out = folder / f"{backend}-{precision}"
    out.mkdir()
    name = RECIPES[backend] if precision == "int8" else ""
    network = folder / "residual.onnx"
    request = ExportRequest(
        as_variant(network if network.exists() else residual_network(network)),
        Candidate(f"{backend}-{precision}", "original", backend, precision, name),
        find_target("generic-cpu"),
        frozenset({"avx2", "fma"}),
        out,
        find_recipe(name) if name else None,
        DATA if name else None,
    )
    return get_backend(backend).export(request)


def onnx_artifact(path: Path) -> Artifact:
    """An ONNX file as it lies."""
    return Artifact(path.stem, "onnxruntime", str(path.parent), path.name, (), 0, 0.0)


def broken(path: Path, target: Path, weight: str, channel: int, factor: float) -> Path:
    """A copy of an ONNX file in which one output channel of a weight is multiplied."""
    model = onnx.load(str(path))
    for initializer in model.graph.initializer:
        if initializer.name == weight:
            values = numpy_helper.to_array(initializer).copy()
            values[channel] *= factor
            initializer.CopyFrom(numpy_helper.from_array(values, weight))
    onnx.save(model, str(target))
    return target


def renamed(path: Path, target: Path) -> Path:
    """A copy of an ONNX file in which no inner tensor keeps its name."""
    model = onnx.load(str(path))
    kept = {info.name for info in [*model.graph.input, *model.graph.output, *model.graph.initializer]}
    names: dict[str, str] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name not in kept:
                node.output[place] = names.setdefault(name, f"inner_{len(names)}")
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        node.name = f"node_{node.name}"
    del model.graph.value_info[:]
    onnx.save(model, str(target))
    return target


def stream(count: int = 24, labels: np.ndarray | None = None) -> CompareSamples:
    """Samples of the residual network, in batches of 10."""
    arrays = samples(count, 5)

    def batches():  # type: ignore[no-untyped-def]
        for start in range(0, count, 10):
            part = slice(start, start + 10)
            yield (arrays[part],), None if labels is None else labels[part]

    return CompareSamples(batches, count, f"{count} samples")


def write_tflite(folder: Path) -> Path:
    """float.tflite, int8.tflite and float.onnx of one depthwise network, and images.npz for it, into `folder`.

    Made in a process of its own: the converter warns, and takes a few hundred megabytes.
    """
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TFLITE_SOURCE, str(folder)], check=True, capture_output=True
    )
    return folder


def truncated(path: Path, target: Path) -> Path:
    """The first half of a file; what lies beside an .xml comes along."""
    target.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if path.with_suffix(".bin").exists():
        shutil.copyfile(path.with_suffix(".bin"), target.with_suffix(".bin"))
    return target
