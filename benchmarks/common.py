"""What the benchmarks share: the CIFAR-10 workload, the peer, and interleaved timing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CLASSES_MEAN = (0.485, 0.456, 0.406)
CLASSES_STD = (0.229, 0.224, 0.225)
PREPROCESS = [
    "--input-layout", "nhwc", "--scale", "255",
    "--mean", ",".join(map(str, CLASSES_MEAN)), "--std", ",".join(map(str, CLASSES_STD)),
]  # fmt: skip


def unpack(data: Path, work: Path) -> Path:
    """CIFAR-10's arrays as .npz, made once by the data folder's own script."""
    arrays = work / "cifar10.npz"
    if not arrays.exists():
        work.mkdir(parents=True, exist_ok=True)
        partial = work / "partial.npz"
        subprocess.run([sys.executable, str(data / "unpack.py"), str(partial)], check=True)
        partial.replace(arrays)
    return arrays


def normalized(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] → float32 [N, 3, H, W], as PREPROCESS says."""
    x = (images.astype(np.float32) / 255 - np.float32(CLASSES_MEAN)) / np.float32(CLASSES_STD)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def edgekit(
    *arguments: str, check: bool = True, codes: Sequence[int] = (0, 3)
) -> subprocess.CompletedProcess[str]:
    """Run the command line; its progress goes to this terminal. `codes`: the exit codes that `check` allows."""
    command = [sys.executable, "-m", "edgekit", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if check and done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done


def nncf_int8(onnx_path: Path, images: np.ndarray, *, overflow_fix: bool | None = None) -> Any:
    """The peer: NNCF's INT8, mixed preset, 300 samples, default settings unless `overflow_fix` is given.

    NNCF protects only the first layer against 16-bit saturation unless told otherwise; on CPUs without VNNI
    `overflow_fix=True` is what its documentation advises.
    """
    import nncf
    import openvino as ov

    model = ov.Core().read_model(onnx_path)
    name = model.input(0).any_name
    dataset = nncf.Dataset(list(images), lambda image: {name: image[None]})
    options: dict[str, Any] = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": len(images)}
    if overflow_fix is not None:
        fix = nncf.OverflowFix.ENABLE if overflow_fix else nncf.OverflowFix.DISABLE
        options["advanced_parameters"] = nncf.AdvancedQuantizationParameters(overflow_fix=fix)
    return nncf.quantize(model, dataset, **options)


def openvino_runner(model: Any, precision: str | None = "f32") -> Callable[[np.ndarray], np.ndarray]:
    """A plain OpenVINO model or path as a function of one batch-1 input; one thread, one stream."""
    import openvino as ov

    options = {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        **({"INFERENCE_PRECISION_HINT": precision} if precision else {}),
    }  # fmt: skip
    core = ov.Core()
    source = core.read_model(model) if isinstance(model, (str, Path)) else model
    request = core.compile_model(source, "CPU", options).create_infer_request()
    last: list[np.ndarray | None] = [None]

    def run(x: np.ndarray) -> np.ndarray:
        if x is not last[0]:  # the same array again, as in timing: it is in place already
            request.set_input_tensor(ov.Tensor(np.ascontiguousarray(x), shared_memory=True))
            last[0] = x
        request.infer()
        return request.get_output_tensor(0).data

    return run


def ort_runner(path: Path, entries: Mapping[str, str] | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """An ONNX file as a function of one batch-1 input; one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def artifact_runner(candidate: Mapping[str, Any], bundle: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A chosen candidate through edgekit's own session of its runtime; inputs stay in place while they are the same.

    `bundle` is OUT/bundle of the build, whose manifest has the runtime's options.
    """
    from edgekit.board.sessions.opening import open_session

    options = json.loads((bundle / "manifest.json").read_text())["options"]
    return session_runner(open_session(candidate["backend"], candidate["artifact"], options, 1))


def session_runner(session: Any) -> Callable[[np.ndarray], np.ndarray]:
    """An open session as a function of one batch-1 input; an input stays in place while it is the same."""
    name = session.signature["inputs"][0]["name"]
    last: list[np.ndarray | None] = [None, None]

    def run(x: np.ndarray) -> np.ndarray:
        if x is not last[0]:
            last[:] = x, next(iter(session.run({name: x}).values()))
            session.bind({name: x})
        session.step()
        return last[1]

    return run


def untrained_int8(place: Path, network: Any, example: np.ndarray, runtime: Any = "litert") -> Any:
    """The Artifact of a torch network in INT8 with made-up ranges: for its time. `place` is made anew."""
    from edgekit.board.machine import describe
    from edgekit.hardware import find_target
    from edgekit.latency.wholes import build_whole
    from edgekit.model import export_onnx
    from edgekit.types import Artifact

    shutil.rmtree(place, ignore_errors=True)
    inside = place / "artifact"
    inside.mkdir(parents=True)
    export_onnx(network, (example,), place / "net.onnx")
    features = frozenset(describe()["features"])
    made = build_whole(place / "net.onnx", runtime, "int8", find_target("generic-cpu"), features, inside)
    return Artifact(place.name, runtime, str(inside), made.entry, (), 0, 0.0, dict(made.options))


def interleaved_ms(
    runners: Mapping[str, Callable[[np.ndarray], Any]], x: np.ndarray, rounds: int = 40, runs: int = 100
) -> dict[str, list[float]]:
    """Per runner the median of each of `rounds` interleaved rounds, in milliseconds."""
    pin_one_core()
    medians: dict[str, list[float]] = {name: [] for name in runners}
    order = np.random.default_rng(0)
    names = list(runners)
    for number in range(rounds + 2):
        order.shuffle(names)
        for name in names:
            run = runners[name]
            for _ in range(10):
                run(x)
            samples = []
            for _ in range(runs):
                started = time.perf_counter_ns()
                run(x)
                samples.append((time.perf_counter_ns() - started) / 1e6)
            if number >= 2:  # two rounds of warm-up
                medians[name].append(statistics.median(samples))
    return medians


def ratio(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Median of the pairwise ratios a/b, and their quartiles."""
    values = np.asarray(a) / np.asarray(b)
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(low), float(high)


def pin_one_core() -> None:
    """Keep this process on its first core, the one that edgekit's runner takes."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def top1(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each image is classified correctly, bool [N], batch 1."""
    return np.array([int(run(x[None]).argmax()) == y for x, y in zip(images, labels, strict=True)])


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), "")
    flags = next((line.split() for line in info.splitlines() if line.startswith("flags")), [])
    vnni = [flag for flag in flags if "vnni" in flag]
    return {
        "cpu": model or platform.processor(),
        "vnni": " ".join(vnni) or "none",
        "cores": str(os.cpu_count()),
    }


def show(title: str, figures: Mapping[str, Any]) -> None:
    """Print figures as one JSON object, after the machine they were taken on."""
    print(json.dumps({"benchmark": title, "machine": machine(), **figures}, indent=1))
