"""Widths and blocks chosen together against widths alone, at the same predicted harm: ResNet-20, LiteRT INT8.

usage: python benchmarks/depth.py --data DIR [--shares 0.6,0.5,0.4,0.33] [--work DIR]

For each share of the original's predicted time the program chooses widths and blocks together. Then blocks may not be
dropped, and the fastest plan is sought whose predicted harm is no larger. Both networks are built, untrained, and
measured in the interleaved rounds of one job; the ratio is that of their times.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import CLASSES_MEAN, CLASSES_STD, show, unpack, untrained_int8
from further import load_original

from edgekit.compress import (
    PruneConfig,
    SensitivityConfig,
    apply_plan,
    measure_sensitivity,
)
from edgekit.data import make_splits, open_source
from edgekit.devices import LocalDevice
from edgekit.latency import LatencyTable, units_of
from edgekit.latency.measuring import TimingOptions, describe_device, measure_units, measure_wholes
from edgekit.model import export_onnx
from edgekit.plan.solving import PlanLimits, PlanProblem, Solution, solve
from edgekit.planning import PlanCutter, assemble, coupled
from edgekit.types import Preprocess

EXAMPLE = (np.zeros((1, 3, 32, 32), np.float32),)
PRUNING = PruneConfig(round_to=8)
HALVINGS = 12
UNLIMITED = PlanLimits(latency_ms=1e6)
WHOLE = TimingOptions(rounds=25, seconds=0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shares", default="0.6,0.5,0.4,0.33")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = asked.work / "depth"
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = Preprocess(input_layout="nhwc", scale=255.0, mean=CLASSES_MEAN, std=CLASSES_STD)
    source = open_source(str(unpack(asked.data, asked.work)), preprocess, asked.work / "cache")
    samples = make_splits(source, seed=0).calibration
    network = load_original(asked.data, asked.data / "resnet20.safetensors")
    device = LocalDevice(folder / "device")
    export_onnx(network, EXAMPLE, folder / "full.onnx")
    units = units_of(folder / "full.onnx", "litert", "int8")
    table = measure_units(device, LatencyTable(describe_device(device, "litert", 1)), units.units)
    coupling = coupled(network, EXAMPLE, PRUNING)
    settings = SensitivityConfig.for_samples(len(samples))
    harm = measure_sensitivity(network, EXAMPLE, samples, PRUNING, settings)
    problem = assemble(units, coupling, table, harm, UNLIMITED).problem
    cutter = PlanCutter(network, EXAMPLE, coupling, PRUNING, samples)
    whole_ms = solve(problem).plan.latency_ms
    shares = [float(share) for share in asked.shares.split(",")]
    pairs = {share: both(problem, share * whole_ms) for share in shares}
    artifacts = {"original": untrained_int8(folder / "original", network, EXAMPLE[0])}
    for share, chosen in pairs.items():
        for way, solution in chosen.items():
            plan = cutter.plan(solution.plan)
            name = f"{way}-{share:g}"
            artifacts[name] = untrained_int8(folder / name, apply_plan(network, EXAMPLE, plan), EXAMPLE[0])
    times = measure_wholes(device, artifacts, WHOLE)
    rows = {}
    for share, chosen in pairs.items():
        joint_ms, alone_ms = (times[f"{way}-{share:g}"].value for way in ("joint", "widths"))
        rows[f"{share:g} of the time"] = {
            "measured_ms": {"joint": round(joint_ms, 4), "widths alone": round(alone_ms, 4)},
            "predicted_ms": {way: round(s.plan.latency_ms, 4) for way, s in chosen.items()},
            "harm": {way: round(s.plan.harm, 4) for way, s in chosen.items()},
            "dropped": list(chosen["joint"].plan.dropped),
            "ratio": round(alone_ms / joint_ms, 3),
        }
    show("depth", {"original_ms": round(times["original"].value, 4), **rows})


def both(problem: PlanProblem, limit_ms: float) -> dict[str, Solution]:
    """The plan of widths and blocks within the limit, and the fastest of widths alone that does no more harm."""
    joint = solve(replace(problem, limits=PlanLimits(latency_ms=limit_ms)))
    narrow = replace(problem, blocks=(), units=tuple(replace(unit, block=None) for unit in problem.units))
    best = solve(narrow)
    low_ms, high_ms = limit_ms, best.plan.latency_ms
    for _ in range(HALVINGS):
        middle_ms = (low_ms + high_ms) / 2
        tried = solve(replace(narrow, limits=PlanLimits(latency_ms=middle_ms)))
        if tried.outcome == "FOUND" and tried.plan.harm <= joint.plan.harm:
            best, high_ms = tried, middle_ms
        else:
            low_ms = middle_ms
    return {"joint": joint, "widths": best}


if __name__ == "__main__":
    main()
