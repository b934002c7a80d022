"""Quantization alone against NNCF (OpenVINO) and against float (ONNX Runtime): ResNet-20 on CIFAR-10.

usage: python benchmarks/quantized.py --data DIR [--target generic-cpu] [--work DIR]
DIR holds cifar10's unpack.py, resnet.py and resnet20.safetensors. Accuracy is on the 8,000 test images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from common import (
    PREPROCESS,
    edgekit,
    interleaved_ms,
    nncf_int8,
    normalized,
    openvino_runner,
    ort_runner,
    ratio,
    show,
    top1,
    unpack,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", default="generic-cpu")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    options = parser.parse_args()
    arrays = unpack(options.data, options.work)
    out = options.work / f"quantized-{options.target}"
    edgekit(
        "build", "--target", options.target, "--model", f"{options.data / 'resnet.py'}:make20",
        "--weights", str(options.data / "resnet20.safetensors"), "--data", str(arrays), *PREPROCESS,
        "--no-prune", "--precision", "fp32,int8", "--max-latency", "auto", "--max-drop", "1%",
        "--out", str(out), "--store", str(options.work / "store"),
    )  # fmt: skip
    candidates = json.loads((out / "result.json").read_text())["candidates"]
    float_onnx = artifact(best(candidates, "onnxruntime", "fp32"))
    with np.load(arrays) as z:
        calibration = normalized(z["x_train"][:300])
        images, labels = normalized(z["x_test"]), z["y_test"]
    ours_ov, ours_ort = best(candidates, "openvino", "int8"), best(candidates, "onnxruntime", "int8")
    runners = {
        "openvino float32": openvino_runner(artifact(best(candidates, "openvino", "fp32"))),
        "nncf defaults": openvino_runner(nncf_int8(float_onnx, calibration)),
        "nncf, overflow fix": openvino_runner(nncf_int8(float_onnx, calibration, overflow_fix=True)),
        f"edgekit {ours_ov['id']}": openvino_runner(artifact(ours_ov)),
        "onnxruntime float32": ort_runner(float_onnx),
        f"edgekit {ours_ort['id']}": ort_runner(artifact(ours_ort)),
    }
    times = interleaved_ms(runners, images[:1])
    correct = {name: top1(run, images, labels) for name, run in runners.items()}
    base = {"openvino": "nncf defaults", "onnxruntime": "onnxruntime float32"}
    rows = {}
    for name in runners:
        peer = base["onnxruntime" if "ort" in name or "onnxruntime" in name else "openvino"]
        middle, low, high = ratio(times[name], times[peer])
        rows[name] = {
            "top1_percent": round(100 * correct[name].mean(), 2),
            "median_ms": round(float(np.median(times[name])), 4),
            f"ratio to {peer}": f"{middle:.3f} [{low:.3f}, {high:.3f}]",
        }
    show("quantized only", rows)


def best(candidates: list[dict], backend: str, precision: str) -> dict:
    """edgekit's own pick among one backend's candidates of a precision: within the limit, the fastest."""
    rows = [
        c for c in candidates if c["backend"] == backend and c["precision"] == precision and c["latency_ms"]
    ]
    within = [c for c in rows if c["accuracy"]["drop"] <= 0.01] or rows
    return min(within, key=lambda c: c["latency_ms"]["p90"])


def artifact(candidate: dict) -> Path:
    """The file that a candidate's runtime loads."""
    return Path(candidate["artifact"])


if __name__ == "__main__":
    main()
