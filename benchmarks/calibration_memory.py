"""Peak memory of calibration with 500 and with 8,000 samples: ResNet-20 on CIFAR-10, each in a process of its own.

usage: python benchmarks/calibration_memory.py --data DIR [--times 3] [--work DIR]
"ranges" is the collecting of ranges alone (MSE observer), the others are whole INT8 exports as a build makes them,
bias correction included. Shown are medians, their ratio, and the ratio of the highest peak to the lowest.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import normalized, show, unpack

COUNTS = (500, 8000)
RECIPES = {"onnxruntime": "int8-mse", "openvino": "int8-nncf-mse", "litert": "int8-mse"}
WORKS = ("ranges", *RECIPES)


def calibrate(kind: str, network: Path, samples: Path) -> None:
    """In the child: collect ranges, or export by the backend `kind`; print peak memory in MB and seconds."""
    from edgekit.building.tasks import stream_samples
    from edgekit.graph import CalibrationData
    from edgekit.quantize import collect_ranges

    count = int(np.load(samples, mmap_mode="r").shape[0])
    started = time.perf_counter()
    if kind == "ranges":
        data = CalibrationData(stream_samples((str(samples),)), count, "")
        collect_ranges(network, data, "mse", samples=count)
    else:
        export(kind, network, samples)
    # VmHWM, not ru_maxrss: Linux hands the parent's peak on to a child, through exec.
    peak_mb = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(f"{peak_mb:.1f} {time.perf_counter() - started:.1f}")


def export(backend: str, network: Path, samples: Path) -> None:
    """What a build's worker does for one INT8 candidate."""
    import onnx

    from edgekit.building.tasks import ExportTask
    from edgekit.files import sha256_file
    from edgekit.graph.signature import signature_of
    from edgekit.hardware import find_target
    from edgekit.quantize import find_recipe
    from edgekit.types import Candidate, Cost, Variant

    signature = signature_of(onnx.load(str(network)))
    variant = Variant(
        "original", "original", None, "", str(network), sha256_file(network), signature, Cost(0, 0, 0, 0)
    )
    folder = samples.parent / f"{samples.stem}-{backend}"
    folder.mkdir(exist_ok=True)
    recipe = f"all-{RECIPES[backend]}"
    ExportTask(
        variant=variant,
        candidate=Candidate(backend, "original", backend, "int8", recipe),
        target=find_target("generic-cpu"),
        features=tuple(find_target("intel-cpu").assumed_features),
        recipe=find_recipe(recipe, samples.parent),
        samples=(str(samples),),
        samples_digest=sha256_file(samples),
        threads=1,
        versions={},
    ).perform(folder)


def write_recipes(project: Path) -> None:
    """The shipped recipes, with all samples and no next step."""
    folder = project / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(RECIPES.values()):
        lines = (Path(__file__).parents[1] / "calibration" / f"{name}.toml").read_text().splitlines()
        kept = [line for line in lines if line.split(" =")[0] not in ("name", "samples", "next")]
        text = "\n".join([f'name = "all-{name}"', f"samples = {max(COUNTS)}", *kept])
        (folder / f"all-{name}.toml").write_text(text + "\n")


def peak(kind: str, network: Path, samples: Path) -> tuple[float, float]:
    """Peak memory in MB and seconds of one child."""
    command = [sys.executable, __file__, "--child", kind, str(network), str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr[-2000:]}")
    peak_mb, seconds = map(float, done.stdout.splitlines()[-1].split())
    return peak_mb, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, network, samples = options.child
        calibrate(kind, Path(network), Path(samples))
        return
    if options.data is None:
        parser.error("--data is needed")
    from further import export_original  # brings torch, whose memory would cover the child's

    work = options.work.resolve()
    with np.load(unpack(options.data, work)) as z:
        images = z["x_train"][: max(COUNTS)]
    network = export_original(options.data, options.data / "resnet20.safetensors", work)
    write_recipes(work)
    for count in COUNTS:
        np.save(work / f"calibration-{count}.npy", normalized(images[:count]))
    rows = {}
    for kind in WORKS:
        runs = {
            count: [peak(kind, network, work / f"calibration-{count}.npy") for _ in range(options.times)]
            for count in COUNTS
        }
        few, many = ([each[0] for each in runs[count]] for count in COUNTS)
        rows[kind] = {
            "peak_mb": {str(count): median(each[0] for each in runs[count]) for count in COUNTS},
            "seconds": {str(count): median(each[1] for each in runs[count]) for count in COUNTS},
            "ratio": round(median(many) / median(few), 3),
            "worst_ratio": round(max(many) / min(few), 3),
        }
        print(kind, rows[kind], file=sys.stderr, flush=True)
    show("calibration memory", rows)


if __name__ == "__main__":
    main()
