"""The same ONNX model by the local device and over SSH to this very machine, interleaved: do the medians agree?

usage: python benchmarks/ssh_bench.py [MODEL.onnx] [--times 9] [--seconds 3]
Needs sshd, which it starts with keys of its own. Without a model, a small convolutional network is made.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from common import ratio, show

from edgekit.devices import Device, LocalDevice
from edgekit.devices.ssh import SshDevice
from edgekit.testing.sshd import Sshd


def make_model(path: Path) -> Path:
    """input [1, 3, 64, 64] → six 3×3 convolutions of 32 channels → scores [1, 10]: some milliseconds."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, last, channels = [], [], "input", 3
    for layer in range(6):
        array = (rng.standard_normal((32, channels, 3, 3)) / (3 * channels) ** 0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(array, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last, channels = f"r{layer}", 32
    weights.append(numpy_helper.from_array(rng.standard_normal((10, 32)).astype(np.float32), "fw"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "fw"], ["scores"], transB=1))
    inside = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])
    outside = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "g", [inside], [outside], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def round_medians_ms(device: Device, model: Path, seconds: float) -> list[float]:
    device.push([(model, f"bench/{model.name}")])
    entry = {"id": "model", "runtime": "onnxruntime", "path": f"bench/{model.name}"}
    cpus = device.describe()["cpus"][:1]
    job = {"schema": 1, "rounds": 12, "seconds": seconds, "warmup_s": 1.0, "cpus": cpus, "entries": [entry]}
    rounds = device.run(job, timeout_s=300.0)["entries"]["model"]["rounds_ms"]
    return [statistics.median(samples) for samples in rounds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        model = options.model or make_model(work / "net.onnx")
        board = Sshd(work / "sshd")
        os.environ["HOME"] = str(board.home)
        remote = SshDevice(board.address(work / "there"), work / "here", lock_folder=str(work))
        devices: dict[str, Device] = {"local": LocalDevice(work / "local"), "ssh": remote}
        medians: dict[str, list[float]] = {name: [] for name in devices}
        quietest: dict[str, float] = {name: float("inf") for name in devices}
        for turn in range(options.times):
            for name in sorted(devices, reverse=bool(turn % 2)):
                rounds = round_medians_ms(devices[name], model, options.seconds)
                medians[name].append(statistics.median(rounds))
                quietest[name] = min(quietest[name], *rounds)
        remote.close()
        board.stop()
    middle, low, high = ratio(medians["ssh"], medians["local"])
    show(
        "ssh bench",
        {
            "median_ms": {name: round(statistics.median(values), 4) for name, values in medians.items()},
            "ssh / local": {"median": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)]},
            "ratio of medians": round(
                statistics.median(medians["ssh"]) / statistics.median(medians["local"]), 4
            ),
            "quietest round": {  # what is left of a machine that others use too
                "ms": {name: round(value, 4) for name, value in quietest.items()},
                "ssh / local": round(quietest["ssh"] / quietest["local"], 4),
            },
            "all_ms": {name: [round(value, 4) for value in values] for name, values in medians.items()},
        },
    )


if __name__ == "__main__":
    main()
