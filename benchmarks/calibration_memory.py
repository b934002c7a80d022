"""Peak memory of calibration with 500 and with 8,000 samples: ResNet-20 on CIFAR-10, each in a process of its own.

usage: python benchmarks/calibration_memory.py --data DIR [--observer mse] [--work DIR]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import normalized, show, unpack
from further import export_original

COUNTS = (500, 8000)


def calibrate(network: Path, samples: Path, observer: str) -> None:
    """In the child: collect ranges as a build does, print peak memory in MB and seconds."""
    from edgekit.building.worker import stream_samples
    from edgekit.quantize import CalibrationData, collect_ranges

    count = int(np.load(samples, mmap_mode="r").shape[0])
    started = time.perf_counter()
    collect_ranges(
        network, CalibrationData(stream_samples((str(samples),)), count, ""), observer, samples=count
    )
    # VmHWM, not ru_maxrss: Linux hands the parent's peak on to a child, through exec.
    peak_mb = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(f"{peak_mb:.1f} {time.perf_counter() - started:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--observer", default="mse")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        calibrate(*options.child, options.observer)
        return
    with np.load(unpack(options.data, options.work)) as z:
        images = z["x_train"][: max(COUNTS)]
    network = export_original(options.data, options.data / "resnet20.safetensors", options.work)
    rows = {}
    for count in COUNTS:
        samples = options.work / f"calibration-{count}.npy"
        np.save(samples, normalized(images[:count]))
        command = [sys.executable, __file__, "--data", str(options.data), "--observer", options.observer]
        done = subprocess.run(
            [*command, "--child", str(network), str(samples)], capture_output=True, text=True, check=True
        )
        peak_mb, seconds = map(float, done.stdout.split())
        rows[str(count)] = {"peak_mb": peak_mb, "seconds": seconds}
    ratio = rows[str(COUNTS[1])]["peak_mb"] / rows[str(COUNTS[0])]["peak_mb"]
    show("calibration memory", {"observer": options.observer, "samples": rows, "ratio": round(ratio, 3)})


if __name__ == "__main__":
    main()
