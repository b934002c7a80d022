"""`edgekit bench` against OpenVINO's benchmark_app and a bare Python loop on the same model, in turn.

usage: python benchmarks/bench_agrees.py MODEL.xml [--times 5]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import edgekit, openvino_runner, pin_one_core, show


def edgekit_bench(path: str) -> float:
    return json.loads(edgekit("bench", path, "--json").stdout)["latency_ms"]["p50"]["value"]


def benchmark_app(path: str) -> float:
    command = [
        str(Path(sys.executable).with_name("benchmark_app")),
        "-m",
        path,
        "-hint",
        "none",
        "-nstreams",
        "1",
        "-nthreads",
        "1",
        "-api",
        "sync",
    ]
    done = subprocess.run(
        [*command, "-t", "5"], capture_output=True, text=True, check=True, preexec_fn=pin_one_core
    )
    value, unit = re.findall(r"Median:\s+([\d.]+)\s+(\S+)", done.stdout)[0]
    return float(value) / (1000 if unit in ("us", "µs") else 1)


def bare_loop(path: str) -> float:
    done = subprocess.run(
        [sys.executable, __file__, path, "--loop"], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def loop(path: str) -> float:
    """In a process of its own, as the others: five seconds of `infer()`."""
    pin_one_core()
    run = openvino_runner(path, None)  # the precision that OpenVINO takes by itself, as the others do
    import openvino as ov

    shape = tuple(ov.Core().read_model(path).input(0).shape)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    samples = []
    stop = time.perf_counter() + 5
    while time.perf_counter() < stop:
        started = time.perf_counter_ns()
        run(x)
        samples.append((time.perf_counter_ns() - started) / 1e6)
    return statistics.median(samples[len(samples) // 5 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        print(loop(options.model))
        return
    tools = {"edgekit bench": edgekit_bench, "benchmark_app": benchmark_app, "bare loop": bare_loop}
    medians: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(options.times):
        for name, tool in tools.items():
            medians[name].append(tool(options.model))
    rows = {
        name: {
            "median_ms": round(statistics.median(values), 4),
            "edgekit / this": round(
                statistics.median(a / b for a, b in zip(medians["edgekit bench"], values, strict=True)), 3
            ),
        }
        for name, values in medians.items()
    }
    show("bench agrees", rows)


if __name__ == "__main__":
    main()
