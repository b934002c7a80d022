"""Pruned, distilled and quantized against NNCF's INT8 of the unpruned network: ResNet-20 on CIFAR-10.

usage: python benchmarks/pruned.py --data DIR [--target generic-cpu] [--speedup 1.35] [--work DIR]
       python benchmarks/pruned.py … --original FILE.safetensors   (the original trained on, see further.py)
       python benchmarks/pruned.py … --speedup 2.0 --build-option=--latency-table=auto   (by plans)

The latency budget is NNCF's latency divided by --speedup, as measured at the beginning; the ratio that counts is
measured at the end, interleaved. Accuracy is on the 8,000 test images.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import (
    PREPROCESS,
    artifact_runner,
    edgekit,
    interleaved_ms,
    nncf_int8,
    normalized,
    openvino_runner,
    ratio,
    show,
    top1,
    unpack,
)
from further import export_original


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", default="generic-cpu")
    parser.add_argument("--speedup", type=float, default=1.35)
    parser.add_argument("--epochs", type=float, default=12, help="of the build's final fine-tuning")
    parser.add_argument("--time-limit", default="40m")
    parser.add_argument("--build-option", action="append", default=[], help="a further word for the build")
    parser.add_argument("--original", type=Path, help="the original's weights after as many further epochs")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    options = parser.parse_args()
    arrays = unpack(options.data, options.work)
    with np.load(arrays) as z:
        calibration = normalized(z["x_train"][:300])
        images, labels = normalized(z["x_test"]), z["y_test"]
    published = export_original(options.data, options.data / "resnet20.safetensors", options.work)
    quantized = nncf_int8(published, calibration)
    peer = openvino_runner(quantized)
    import openvino as ov

    nncf_path = options.work / "nncf.xml"
    ov.save_model(quantized, nncf_path, compress_to_fp16=False)
    found = json.loads(edgekit("bench", str(nncf_path), "--seconds", "5", "--json").stdout)
    budget_ms = found["latency_ms"]["p50"]["value"] / options.speedup

    out = options.work / f"pruned-{options.target}"
    command = [
        "build", "--target", options.target, "--model", f"{options.data / 'resnet.py'}:make20",
        "--weights", str(options.data / "resnet20.safetensors"), "--data", str(arrays), *PREPROCESS,
        "--precision", "fp32,int8", "--percentile", "p50", "--max-latency", f"{budget_ms:.4f}ms",
        "--max-drop", "1%", "--time-limit", options.time_limit,
        "--epochs", f"{options.epochs:g}", *options.build_option,
        "--out", str(out), "--store", str(options.work / "store"),
    ]  # fmt: skip
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        edgekit(*command)
        seconds.append(time.perf_counter() - started)
    result = json.loads((out / "result.json").read_text())
    chosen = result["winner"] or result["nearest"]
    winner = next(c for c in result["candidates"] if c["id"] == chosen)

    runners = {
        "original float32": openvino_runner(published),
        "nncf int8 of the original": peer,
        f"edgekit {winner['id']}": artifact_runner(winner, out / "bundle"),
    }
    if options.original:
        further = export_original(options.data, options.original, options.work)
        runners["original float32, trained on"] = openvino_runner(further)
    times = interleaved_ms(runners, images[:1])
    correct = {name: top1(run, images, labels) for name, run in runners.items()}
    rows = {
        name: {
            "top1_percent": round(100 * correct[name].mean(), 2),
            "median_ms": round(float(np.median(times[name])), 4),
            "times faster than nncf": round(1 / ratio(times[name], times["nncf int8 of the original"])[0], 3),
        }
        for name in runners
    }
    show(
        "pruned, distilled, quantized",
        {
            "verdict": result["verdict"],
            "build_s": round(seconds[0], 1),
            "identical_build_s": round(seconds[1], 2),
            **rows,
        },
    )


if __name__ == "__main__":
    main()
