#!/usr/bin/env python3
"""Measures artifacts on the machine it runs on. One file: standard library, numpy, and the board's runtime.

It runs on Python 3.6 (a Jetson Nano has nothing newer): no newer syntax or library is used; a test says so.

    python runner.py JOB.json      coordinator: runs the job, writes the result file atomically
    python runner.py --describe    prints what this machine is, as JSON
    python runner.py --worker      one entry of a job; started by the coordinator

Each entry gets a worker process of its own: a runtime that crashes or hangs costs its own entry only. All
workers are loaded and warm before timing starts. Then rounds are interleaved: in each, every entry, in a new
order, makes a few unrecorded runs and then its timed ones, so drift of the machine hits all alike.
Waiting workers sleep on a pipe. Outputs for data sets are written last, entry by entry.

Job (paths are relative to the job file's folder):
    schema 1, result "result.json", seed 0, threads 1, cpus [0] or null (not pinned),
    rounds 12, seconds 5.0 (timed time per entry over all rounds; 0: no timing), warmup_s 3.0 (cap per entry),
    timeout_s 600 (what one entry may use in all its stages together),
    entries: [{id, runtime, path, options: {name: text},
               feeds: {input: FILE.npy}       one batch-1 array per input; absent: random ones, dynamic dims 1
               evaluate: {inputs: {input: FILE.npy [N, ...]}, outputs: FOLDER}}]   evaluate may be absent

Result:
    schema 1, facts (see `describe`), threads, cpus, notes, sensors {before, after}, order (of each round),
    entries: {id: {status "ok", signature, runtime_facts,
                   import_ms (the runtime's package), load_ms (the artifact, runtime imported), warmup_runs,
                   steady, rounds_ms [[...]], preemptions (involuntary context switches while timing), notes,
                   peak_memory_bytes (highest resident set of the worker process when timing ends, VmHWM:
                   interpreter, numpy, runtime, model and activations),
                   outputs: {output: FILE.npy [N, ...]}, samples N}
              or  {status "failed", stage, cause, signal, exit_code, stderr [last lines]}}

Progress goes to stdout, one JSON object a line: {"progress": {stage, entry, done, total}}.
"""

import collections
import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import os
import platform
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

SCHEMA = 1
STDERR_LINES = 20
SWITCH_RUNS = 5  # unrecorded runs after another entry had the caches
MAX_RUNS_PER_ROUND = 2000
STEADY_TOLERANCE = 0.02  # of the medians of warm-up windows
ROUND_SPREAD = 0.05  # interquartile range of round medians over their median, above which it is said
ORT_DTYPES = {"float": "float32", "double": "float64"}
ORT_ATTRIBUTES = {"enable_profiling": bool, "profile_file_prefix": str, "optimized_model_filepath": str}
PACKAGES = (
    "numpy",
    "onnxruntime",
    "openvino",
    "nncf",
    "onnx",
    "torch",
    "ai-edge-litert",
    "tflite-runtime",
    "tensorrt",
    "tensorrt-rtx-cu13",
)
# MIDR part numbers, for kernels that print no "model name" (Linux arch/arm64/include/asm/cputype.h)
ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53", ("0x41", "0xd05"): "Cortex-A55", ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72", ("0x41", "0xd0b"): "Cortex-A76", ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x4e", "0x003"): "NVIDIA Denver 2", ("0x4e", "0x004"): "NVIDIA Carmel",
    ("0x41", "0xd83"): "Neoverse V3AE",
}  # fmt: skip


# ---- sessions ----------------------------------------------------------------------------------------------


def _tensor(name: str, dtype: str, shape: List[Any]) -> Dict[str, Any]:
    dims = [dim if isinstance(dim, int) and dim >= 0 else None for dim in shape]
    return {"name": name, "dtype": dtype, "shape": dims}


def _in_order(signature: Dict[str, Any], feeds: Dict[str, Any]) -> List[Any]:
    """Feeds as contiguous arrays of the network's types, in its order. Raises ValueError on other names."""
    names = [spec["name"] for spec in signature["inputs"]]
    if set(names) != set(feeds):
        raise ValueError("feeds are named %s, the network takes %s" % (sorted(feeds), names))
    return [np.ascontiguousarray(feeds[spec["name"]], dtype=spec["dtype"]) for spec in signature["inputs"]]


class OnnxRuntimeSession(object):
    """ONNX Runtime on the CPU. `options` are session config entries, or attributes of ORT_ATTRIBUTES."""

    modules = ("onnxruntime",)

    def __init__(self, path: str, options: Dict[str, str], threads: int) -> None:
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        settings.log_severity_level = 3
        entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
        for key, value in options.items():
            if key in ORT_ATTRIBUTES:
                setattr(settings, key, ORT_ATTRIBUTES[key](value))
            else:
                entries[key] = value
        for key, value in entries.items():
            settings.add_session_config_entry(key, value)
        self.raw = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        self.signature = {
            "inputs": self._specs(self.raw.get_inputs()),
            "outputs": self._specs(self.raw.get_outputs()),
        }
        self.facts = {"providers": ",".join(self.raw.get_providers())}
        self.step = None  # type: Optional[Callable[[], Any]]

    @staticmethod
    def _specs(nodes: Any) -> List[Dict[str, Any]]:
        specs = []
        for node in nodes:
            dtype = node.type[len("tensor(") : -1] if node.type.startswith("tensor(") else node.type
            specs.append(_tensor(node.name, ORT_DTYPES.get(dtype, dtype), node.shape))
        return specs

    def __enter__(self) -> "OnnxRuntimeSession":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.step = None
        self.raw = None

    def run(self, feeds: Dict[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        values = _in_order(self.signature, feeds)
        named = {spec["name"]: value for spec, value in zip(self.signature["inputs"], values)}
        names = [spec["name"] for spec in self.signature["outputs"]]
        return dict(zip(names, self.raw.run(names, named)))

    def bind(self, feeds: Dict[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        binding = self.raw.io_binding()
        for spec, value in zip(self.signature["inputs"], _in_order(self.signature, feeds)):
            binding.bind_cpu_input(spec["name"], value)
        for spec in self.signature["outputs"]:
            binding.bind_output(spec["name"], "cpu")
        self.step = functools.partial(self.raw.run_with_iobinding, binding)


class OpenVinoSession(object):
    """OpenVINO. `options` are device properties; the option DEVICE (default CPU) is the device's name."""

    modules = ("openvino",)

    def __init__(self, path: str, options: Dict[str, str], threads: int) -> None:
        import openvino as ov

        given = dict(options)
        device = given.pop("DEVICE", "CPU")
        config = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            # The kernel pins (sched_setaffinity); OpenVINO's own pinning may pick a CPU outside the mask.
            config.update(INFERENCE_NUM_THREADS=str(threads), NUM_STREAMS="1", ENABLE_CPU_PINNING="NO")
        config.update(given)
        self.raw = ov.Core().compile_model(path, device, config)
        self.request = self.raw.create_infer_request()
        self.signature = {
            "inputs": [self._spec(port, "input_%d" % i) for i, port in enumerate(self.raw.inputs)],
            "outputs": [self._spec(port, "output_%d" % i) for i, port in enumerate(self.raw.outputs)],
        }
        supported = {str(name) for name in self.raw.get_property("SUPPORTED_PROPERTIES")}
        wanted = ("INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS", "NUM_STREAMS", "EXECUTION_DEVICES")
        self.facts = {
            name: _property_text(self.raw.get_property(name)) for name in wanted if name in supported
        }
        self.step = None  # type: Optional[Callable[[], Any]]

    @staticmethod
    def _spec(port: Any, fallback: str) -> Dict[str, Any]:
        shape = [dim.get_length() if dim.is_static else None for dim in port.get_partial_shape()]
        name = port.get_any_name() if port.get_names() else fallback
        return _tensor(name, np.dtype(port.get_element_type().to_dtype()).name, shape)

    def __enter__(self) -> "OpenVinoSession":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.step = None
        self.request = None
        self.raw = None

    def run(self, feeds: Dict[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        results = self.request.infer(dict(enumerate(_in_order(self.signature, feeds))))
        return {spec["name"]: np.array(results[i]) for i, spec in enumerate(self.signature["outputs"])}

    def bind(self, feeds: Dict[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        import openvino as ov

        for index, value in enumerate(_in_order(self.signature, feeds)):
            self.request.set_input_tensor(index, ov.Tensor(value))
        self.step = self._direct_call()

    def _direct_call(self) -> Callable[[], Any]:
        """The binding's own `infer`, which `InferRequest.infer` wraps in some 25 us of Python: a tenth of a small
        network's time that belongs to no network."""
        try:
            binding = super(type(self.request), self.request)  # type: Any
            direct = functools.partial(binding.infer, {}, share_outputs=True, decode_strings=True)
            direct()
        except (AttributeError, TypeError):  # another version's binding
            return functools.partial(self.request.infer, share_outputs=True)
        return direct


def _property_text(value: Any) -> str:
    """OpenVINO's value as text: lists joined, types by their name ("<Type: 'float32'>" gives "float32")."""
    if isinstance(value, (list, tuple)):
        return ",".join(_property_text(item) for item in value)
    text = str(value)
    return text.split("'")[1] if text.startswith("<Type: '") else text


class LiteRtSession(object):
    """LiteRT (TFLite) with XNNPACK, which is on by default. Networks are seen as before their conversion:

    float32 in and out, images as [N, C, H, W]; what the file has instead (channels last, int8) is put right in
    `run` and `bind`, so that `step` is inference alone. `options`: "inputs" and "outputs", each a JSON list of
    {"name", "channels_last"} in the file's order. Without them names are the file's, and inputs with four axes
    are images with channels last, as TFLite has them.
    """

    modules = (
        "ai_edge_litert.interpreter",
        "tflite_runtime.interpreter",
    )  # the second: what old systems have

    def __init__(self, path: str, options: Dict[str, str], threads: int) -> None:
        module = _import_first(self.modules)
        self.raw = module.Interpreter(path, num_threads=threads)
        self.raw.allocate_tensors()
        self.inputs = self._ports(self.raw.get_input_details(), options.get("inputs"), True)
        self.outputs = self._ports(self.raw.get_output_details(), options.get("outputs"), False)
        self.signature = {
            "inputs": [port["spec"] for port in self.inputs],
            "outputs": [port["spec"] for port in self.outputs],
        }
        self.facts = {"package": module.__name__.split(".")[0]}
        self.step = None  # type: Optional[Callable[[], Any]]

    @staticmethod
    def _ports(details: Any, said: Optional[str], images_last: bool) -> List[Dict[str, Any]]:
        known = json.loads(said) if said else [{}] * len(details)
        if len(known) != len(details):
            raise ValueError("the file has %d ports, its description %d" % (len(details), len(known)))
        ports = []
        for detail, facts in zip(details, known):
            shape = [int(size) for size in detail["shape"]]
            last = len(shape) == 4 and facts.get("channels_last", images_last)
            scale, zero = detail["quantization"]
            dtype = np.dtype(detail["dtype"])
            stored = dtype if scale and dtype.kind in "iu" else None  # integers that stand for real numbers
            seen = [shape[0], shape[3], shape[1], shape[2]] if last else shape
            name = facts.get("name", detail["name"])
            spec = _tensor(name, "float32" if stored is not None else dtype.name, seen)
            ports.append({"spec": spec, "index": detail["index"], "last": last, "stored": stored,
                          "scale": scale, "zero": zero})  # fmt: skip
        return ports

    def __enter__(self) -> "LiteRtSession":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.step = None
        self.raw = None

    def run(self, feeds: Dict[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        self._put(feeds)
        self.raw.invoke()
        return {port["spec"]["name"]: self._get(port) for port in self.outputs}

    def bind(self, feeds: Dict[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        self._put(feeds)
        self.step = self.raw.invoke

    def _put(self, feeds: Dict[str, Any]) -> None:
        for port, value in zip(self.inputs, _in_order(self.signature, feeds)):
            if port["last"]:
                value = value.transpose(0, 2, 3, 1)
            if port["stored"] is not None:
                limits = np.iinfo(port["stored"])
                steps = np.rint(value / np.float32(port["scale"])) + port["zero"]
                value = np.clip(steps, limits.min, limits.max).astype(port["stored"])
            self.raw.set_tensor(port["index"], np.ascontiguousarray(value))

    def _get(self, port: Dict[str, Any]) -> Any:
        value = self.raw.get_tensor(port["index"])
        if port["stored"] is not None:
            value = (value.astype(np.float32) - np.float32(port["zero"])) * np.float32(port["scale"])
        return np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if port["last"] else value


def _import_first(names: Tuple[str, ...]) -> Any:
    """The first of these modules whose package is there. Raises the first one's ImportError when none is."""
    missing = None  # type: Optional[ImportError]
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as problem:
            if problem.name != name.split(".")[0]:  # it is there, but broken: that is what has to be told
                raise
            missing = missing or problem
    assert missing is not None
    raise missing


class TensorRtSession(object):
    """TensorRT or TensorRT-RTX: engine.py, which lies beside this file, builds the engine if none fits yet."""

    modules = ("tensorrt", "tensorrt_rtx")

    def __new__(cls, path: str, _options: Dict[str, str], _threads: int) -> Any:
        return _load_engine().open_artifact(path)


def _load_engine() -> Any:
    """The module engine.py beside this file, by its path: the folder is not on sys.path."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "engine.py")
    spec = importlib.util.spec_from_file_location("engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build_engine(path: str) -> None:
    """Build the engine of an artifact if none fits, in a process of its own. Raises RuntimeError with its last words.

    So the time to load and the peak of memory are those of running, not those of building.
    """
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "engine.py")
    command = [sys.executable, program, os.path.dirname(os.path.abspath(path))]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    said = done.stderr.decode(errors="replace")
    sys.stderr.write(said)
    if done.returncode:
        lines = said.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else "the build ended with exit code %d" % done.returncode)


PREPARE = {"tensorrt": _build_engine}  # type: Dict[str, Callable[[str], None]]
"""Runtime -> what has to be done to an artifact once before it is loaded."""

RUNTIMES = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
    "litert": LiteRtSession,
    "tensorrt": TensorRtSession,
}  # type: Dict[str, Any]


def import_runtime(runtime: str) -> None:
    """Import the runtime ahead, so that `load_ms` is the artifact's alone. Raises ValueError, ImportError."""
    if runtime not in RUNTIMES:
        raise ValueError("unknown runtime %r; known: %s" % (runtime, ", ".join(sorted(RUNTIMES))))
    _import_first(RUNTIMES[runtime].modules)


def open_session(runtime: str, path: str, options: Optional[Dict[str, str]] = None, threads: int = 1) -> Any:
    """Load an artifact in this process.

    The session is a context manager with `signature`, `facts`, `raw` (the runtime's object), `run(feeds)`
    and, for timing, `bind(feeds)` then `step()`. Raises ValueError on an unknown runtime, and what the
    runtime raises.
    """
    import_runtime(runtime)
    return RUNTIMES[runtime](str(path), dict(options or {}), threads)


def random_feeds(signature: Dict[str, Any], seed: int) -> Dict[str, Any]:
    """Uniform [0, 1) floats, or 0 and 1 for integers, of the signature's shapes; dynamic dimensions are 1."""
    rng = np.random.RandomState(seed)
    feeds = {}
    for spec in signature["inputs"]:
        shape = [dim or 1 for dim in spec["shape"]]
        dtype = np.dtype(spec["dtype"])
        feeds[spec["name"]] = (rng.rand(*shape) if dtype.kind == "f" else rng.randint(0, 2, shape)).astype(
            dtype
        )
    return feeds


# ---- the machine -------------------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def _cpuinfo() -> Tuple[str, List[str]]:
    """CPU model and features (x86 "flags", Arm "Features") as the kernel names them."""
    fields = {}  # type: Dict[str, str]
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    part = (fields.get("CPU implementer", ""), fields.get("CPU part", ""))
    model = fields.get("model name") or ARM_PARTS.get(part) or " ".join(part).strip() or platform.processor()
    return model, sorted((fields.get("flags") or fields.get("Features") or "").split())


def _cgroup_value(controller: str, v2_file: str, v1_file: str) -> str:
    """A cgroup limit of this process; the tightest group's file is the deepest that exists."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        roots = ["/sys/fs/cgroup"] if not names else ["/sys/fs/cgroup/" + names]
        if names and controller not in names.split(","):
            continue
        for folder in (roots[0] + path, roots[0]):
            text = _read(folder.rstrip("/") + "/" + (v1_file if names else v2_file))
            if text:
                return text
    return ""


def _memory_bytes() -> int:
    """MemTotal, or the cgroup's limit where that is lower."""
    total = 0
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    limit = _cgroup_value("memory", "memory.max", "memory.limit_in_bytes")
    return min(total, int(limit)) if limit.isdigit() and total else total


def _cpu_quota() -> Optional[float]:
    """How many CPUs' time the cgroup grants, or None without a limit."""
    fields = _cgroup_value("cpu", "cpu.max", "cpu.cfs_quota_us").split()
    if not fields or not fields[0].isdigit():
        return None
    period = fields[1] if len(fields) > 1 else _cgroup_value("cpu", "cpu.max", "cpu.cfs_period_us")
    return int(fields[0]) / float(period)


def _versions() -> Dict[str, str]:
    """Installed packages' versions from their metadata; nothing is imported."""
    found = {}
    if sys.version_info >= (3, 8):
        from importlib import metadata

        for name in PACKAGES:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    else:
        import pkg_resources

        installed = {item.project_name.lower(): item.version for item in pkg_resources.working_set}
        found = {name: installed[name] for name in PACKAGES if name in installed}
    return found


TEGRA = {
    "nvidia,tegra210": "sm_53", "nvidia,tegra186": "sm_62", "nvidia,tegra194": "sm_72", "nvidia,tegra234": "sm_87",
    "nvidia,tegra264": "sm_110",
}  # fmt: skip
"""Jetson chip as its device tree calls it -> compute capability of its GPU (CUDA GPUs: compute capability)."""


def _accelerators() -> List[str]:
    """NVIDIA GPUs by compute capability ("sm_86"): a Jetson's from its device tree, others' from the driver.

    Without a driver nothing is started or loaded.
    """
    chips = _read("/proc/device-tree/compatible").split("\0")
    found = [TEGRA[chip] for chip in chips if chip in TEGRA]
    if found or not any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/dxg")):
        return sorted(set(found))
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line.strip() for line in told.stdout.decode(errors="replace").splitlines()]
    return sorted({"sm_" + line.replace(".", "") for line in lines if line.replace(".", "").isdigit()})


def describe() -> Dict[str, Any]:
    """What this machine is. Cheap: no runtime is imported. `cores` are the CPUs this process may use."""
    cpu, features = _cpuinfo()
    affinity = (
        sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(os.cpu_count() or 1))
    )
    release = [
        line[13:].strip('"') for line in _read("/etc/os-release").splitlines() if line[:12] == "PRETTY_NAME="
    ]
    return {
        "machine": _read("/proc/device-tree/model") or platform.node(),
        "arch": {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine()),
        "cpu": cpu,
        "features": features,
        "accelerators": _accelerators(),
        "cores": len(affinity),
        "cpus": affinity,
        "cpu_quota": _cpu_quota(),
        "memory_bytes": _memory_bytes(),
        "os": "%s, %s %s" % (release[0] if release else "unknown", platform.system(), platform.release()),
        "governor": _read("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor" % affinity[0]),
        "python": platform.python_version(),
        "load_1m": os.getloadavg()[0],
        "versions": _versions(),
    }


def sensors() -> Dict[str, Dict[str, float]]:
    """Temperatures (degrees Celsius, by zone) and clocks (MHz, by CPU) where /sys tells them."""
    temperatures, clocks = {}, {}
    thermal = "/sys/class/thermal"
    for zone in sorted(os.listdir(thermal)) if os.path.isdir(thermal) else []:
        value = _read(os.path.join(thermal, zone, "temp"))
        if zone.startswith("thermal_zone") and value.lstrip("-").isdigit():
            temperatures[_read(os.path.join(thermal, zone, "type")) or zone] = int(value) / 1000.0
    for cpu in range(os.cpu_count() or 1):
        value = _read("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq" % cpu)
        if value.isdigit():
            clocks[str(cpu)] = int(value) / 1000.0
    return {"temperature_c": temperatures, "clock_mhz": clocks}


def peak_memory_bytes() -> int:
    """Highest resident set of this process. VmHWM starts at exec; ru_maxrss would remember the parent's."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ---- the worker: one entry ---------------------------------------------------------------------------------


def timed_runs(step: Callable[[], Any], count: int) -> List[float]:
    """Durations of `count` inferences in milliseconds, with the garbage collector off."""
    clock = (
        time.perf_counter
    )  # perf_counter_ns is not in Python 3.6; the float resolves nanoseconds for months of uptime
    samples = [0.0] * count
    gc.collect()
    gc.disable()
    for index in range(count):
        begin = clock()
        step()
        samples[index] = clock() - begin
    gc.enable()
    return [round(sample * 1e3, 6) for sample in samples]


def warm_up(step: Callable[[], Any], cap_s: float) -> Dict[str, Any]:
    """Run until the medians of three windows in a row agree within STEADY_TOLERANCE, or `cap_s` passes."""
    begin = time.perf_counter()
    first = timed_runs(step, 1)[0]
    count = 1
    medians = collections.deque(maxlen=3)  # type: collections.deque[float]
    window = int(min(200, max(5, 50.0 / max(first, 1e-3))))
    while True:
        medians.append(float(np.median(timed_runs(step, window))))
        count += window
        steady = len(medians) == 3 and max(medians) - min(medians) <= STEADY_TOLERANCE * min(medians)
        if steady or time.perf_counter() - begin > cap_s:
            return {"runs": count, "steady": steady, "median_ms": min(medians), "first_ms": first}


class Worker(object):
    """Serves the coordinator's requests on one artifact, in its own process."""

    def __init__(self, send: Callable[[Dict[str, Any]], None]) -> None:
        self.send = send
        self.session = None  # type: Any

    def load(self, entry: Dict[str, Any], threads: int, seed: int) -> Dict[str, Any]:
        begin = time.perf_counter()
        import_runtime(entry["runtime"])
        import_ms = (time.perf_counter() - begin) * 1e3
        if entry["runtime"] in PREPARE:
            PREPARE[entry["runtime"]](entry["path"])
        begin = time.perf_counter()
        self.session = open_session(entry["runtime"], entry["path"], entry.get("options"), threads)
        load_ms = (time.perf_counter() - begin) * 1e3
        if entry.get("feeds"):
            feeds = {name: np.load(path, allow_pickle=False) for name, path in entry["feeds"].items()}
        else:
            feeds = random_feeds(self.session.signature, seed)
        self.session.bind(feeds)
        session = self.session
        return {"signature": session.signature, "runtime_facts": session.facts, "load_ms": load_ms,
                "import_ms": import_ms}  # fmt: skip

    def warmup(self, cap_s: float) -> Dict[str, Any]:
        return warm_up(self.session.step, cap_s)

    def time(self, runs: int) -> Dict[str, Any]:
        import resource

        timed_runs(self.session.step, min(SWITCH_RUNS, runs))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        samples = timed_runs(self.session.step, runs)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return {"samples_ms": samples, "preemptions": after - before}

    def memory(self) -> Dict[str, Any]:
        return {"peak_memory_bytes": peak_memory_bytes()}

    def evaluate(self, inputs: Dict[str, str], outputs: str) -> Dict[str, Any]:
        """Run every sample at batch 1 and write one [N, ...] file per output, each complete or absent."""
        arrays = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in inputs.items()}
        count = min(len(array) for array in arrays.values())
        os.makedirs(outputs, exist_ok=True)
        targets = {}  # type: Dict[str, Any]
        told = time.perf_counter()
        for index in range(count):
            results = self.session.run({name: array[index : index + 1] for name, array in arrays.items()})
            for position, (name, value) in enumerate(results.items()):
                row = value[0] if value.ndim and len(value) == 1 else value
                if name not in targets:
                    path = os.path.join(outputs, "%d.npy" % position)
                    shape = (count, *row.shape)
                    rows = np.lib.format.open_memmap(path + ".part", mode="w+", dtype=row.dtype, shape=shape)
                    targets[name] = (path, rows)
                if targets[name][1].shape[1:] != row.shape:
                    before = targets[name][1].shape[1:]
                    raise ValueError("output %s has %s for one sample, %s before" % (name, row.shape, before))
                targets[name][1][index] = row
            if time.perf_counter() - told > 0.2:
                told = time.perf_counter()
                self.send({"progress": [index + 1, count]})
        for path, rows in targets.values():
            rows.flush()
            os.replace(path + ".part", path)
        return {"outputs": {name: path for name, (path, _) in targets.items()}, "samples": count}


def serve() -> int:
    """Worker's main: requests on stdin, answers on what was stdout (now stderr, for runtimes that print)."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(message: Dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    def tell(kind: Any, value: Any, trace: Any) -> None:
        send({"error": "%s: %s" % (kind.__name__, value)})
        sys.__excepthook__(kind, value, trace)

    sys.excepthook = tell
    worker = Worker(send)
    actions = {"load": worker.load, "warmup": worker.warmup, "time": worker.time, "memory": worker.memory,
               "evaluate": worker.evaluate}  # type: Dict[str, Callable[..., Dict[str, Any]]]  # fmt: skip
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        send({"answer": actions[request["do"]](**request["with"])})
    return 0


# ---- the coordinator ---------------------------------------------------------------------------------------


class EntryError(Exception):
    """A worker that answered with an error, died or took too long. `details` is the entry's result."""

    def __init__(self, details: Dict[str, Any]) -> None:
        Exception.__init__(self, details["cause"])
        self.details = details


def _one_line(text: str) -> str:
    """An exception's text without the source positions that OpenVINO puts before it."""
    kind, _, message = text.partition(": ")
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return "%s: %s" % (kind, " ".join(kept)[:500])


class Peer(object):
    """A worker process seen from the coordinator."""

    def __init__(self, entry: Dict[str, Any], job: Dict[str, Any], errors: Any) -> None:
        self.entry = entry
        self.left_s = float(job["timeout_s"])
        self.result = {"status": "ok", "notes": []}  # type: Dict[str, Any]
        self.errors = errors
        cpus = job["cpus"]
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(job["threads"])
        command = [sys.executable, os.path.abspath(__file__), "--worker", "--parent", str(os.getpid())]
        if cpus:
            command += ["--cpus", ",".join(str(cpu) for cpu in cpus)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.buffer = b""

    def ask(self, stage: str, progress: Optional[Callable[[int, int], None]] = None, **arguments: Any) -> Any:
        """One request and its answer. Raises EntryError; the time counts against the entry's own limit."""
        begin = time.perf_counter()
        request = json.dumps({"do": stage, "with": arguments}) + "\n"
        with contextlib.suppress(
            BrokenPipeError
        ):  # it died while it waited: the end of its answers says so below
            self.stdin.write(request.encode())
        for message in self._messages(stage, begin + self.left_s):
            if "answer" in message:
                self.left_s -= time.perf_counter() - begin
                return message["answer"]
            if "error" in message:
                self._fail(stage, _one_line(message["error"]))
            elif progress:
                progress(*message["progress"])
        raise AssertionError("unreachable: answers end by an answer or by _fail")

    def _messages(self, stage: str, deadline: float) -> Iterator[Dict[str, Any]]:
        pipe = self.stdout.fileno()
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                yield json.loads(line.decode())
            if not select.select([pipe], [], [], max(0.0, deadline - time.perf_counter()))[0]:
                self.process.kill()
                self._fail(stage, "no answer within the entry's time limit")
            chunk = os.read(pipe, 1 << 20)
            if not chunk:
                self._fail(stage, "")
            self.buffer += chunk

    def _fail(self, stage: str, cause: str) -> None:
        if cause and not cause.startswith("no answer"):
            self._wait(2.0)
        code = self.process.wait() if not cause else self._wait(2.0)
        name = ""
        if code is not None and code < 0:
            known = {item.value: item.name for item in signal.Signals}
            name = known.get(-code, "signal %d" % -code)
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()[-STDERR_LINES:]
        if not cause:
            cause = (
                "the runtime was ended by %s" % name if name else "the runtime ended with exit code %s" % code
            )
        details = {
            "status": "failed",
            "stage": stage,
            "cause": cause,
            "signal": name or None,
            "exit_code": code,
        }
        raise EntryError(dict(details, stderr=lines))

    def _wait(self, seconds: float) -> Optional[int]:
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close(self) -> None:
        """End the worker: it leaves when its stdin ends."""
        self.stdin.close()
        self.stdout.close()
        self._wait(5.0)


class Coordinator(object):
    """Runs a job's stages over its workers; a failed worker leaves, the others go on."""

    def __init__(self, job: Dict[str, Any], report: Callable[[Dict[str, Any]], None]) -> None:
        self.job = job
        self.report = report
        self.results = collections.OrderedDict()  # type: Dict[str, Dict[str, Any]]
        self.peers = []  # type: List[Peer]
        self.order = []  # type: List[List[str]]

    def tell(self, stage: str, entry: str, done: int, total: int) -> None:
        self.report({"progress": {"stage": stage, "entry": entry, "done": done, "total": total}})

    def each(self, stage: str, action: Callable[[Peer], None], peers: Optional[List[Peer]] = None) -> None:
        """Apply one stage to each living worker; those that fail are recorded and closed."""
        for done, peer in enumerate(list(self.peers if peers is None else peers)):
            if stage != "time":
                self.tell(stage, peer.entry["id"], done, len(self.peers))
            try:
                action(peer)
            except EntryError as failure:
                self.results[peer.entry["id"]] = failure.details
                self.peers.remove(peer)
                peer.close()

    def load(self, peer: Peer) -> None:
        job = self.job
        peer.result.update(peer.ask("load", entry=peer.entry, threads=job["threads"], seed=job["seed"]))

    def warm(self, peer: Peer) -> None:
        warm = peer.ask("warmup", cap_s=self.job["warmup_s"])
        per_round_ms = self.job["seconds"] * 1e3 / self.job["rounds"]
        peer.entry["runs"] = int(min(MAX_RUNS_PER_ROUND, max(5, per_round_ms / max(warm["median_ms"], 1e-3))))
        peer.result.update(warmup_runs=warm["runs"], steady=warm["steady"], rounds_ms=[], preemptions=0)
        if not warm["steady"]:
            peer.result["notes"].append("not steady after %.1f s of warm-up" % self.job["warmup_s"])

    def rounds(self) -> None:
        shuffler = random.Random(self.job["seed"])

        def one(peer: Peer) -> None:
            answer = peer.ask("time", runs=peer.entry["runs"])
            peer.result["rounds_ms"].append(answer["samples_ms"])
            peer.result["preemptions"] += answer["preemptions"]

        for index in range(self.job["rounds"]):
            self.tell("time", "", index, self.job["rounds"])
            order = list(self.peers)
            shuffler.shuffle(order)
            self.order.append([peer.entry["id"] for peer in order])
            self.each("time", one, order)
        self.tell("time", "", self.job["rounds"], self.job["rounds"])

    def judge(self, peer: Peer) -> None:
        """Peak memory, and whether the rounds agree with each other."""
        peer.result.update(peer.ask("memory"))
        medians = [float(np.median(samples)) for samples in peer.result.get("rounds_ms", ())]
        if medians:
            low, middle, high = np.percentile(medians, [25, 50, 75])
            spread = (high - low) / middle
            if spread > ROUND_SPREAD:
                peer.result["steady"] = False
                peer.result["notes"].append("medians of the rounds spread by %.0f %%" % (spread * 100))

    def evaluate(self, peer: Peer) -> None:
        wanted = peer.entry.get("evaluate")
        if wanted:
            name = peer.entry["id"]
            answer = peer.ask(
                "evaluate", lambda done, total: self.tell("evaluate", name, done, total), **wanted
            )
            peer.result.update(answer)

    def run(self) -> Dict[str, Dict[str, Any]]:
        """Entry id -> its result, in the job's order."""
        stages = [("load", self.load)] + ([("warmup", self.warm)] if self.job["seconds"] > 0 else [])
        with contextlib.ExitStack() as files:
            for entry in self.job["entries"]:
                self.peers.append(Peer(entry, self.job, files.enter_context(tempfile.TemporaryFile())))
                files.callback(self.peers[-1].close)
            for stage, action in stages:
                self.each(stage, action)
            if self.job["seconds"] > 0:
                self.rounds()
            self.each("memory", self.judge)
            self.each("evaluate", self.evaluate)
            self.results.update((peer.entry["id"], peer.result) for peer in self.peers)
        return collections.OrderedDict(
            (entry["id"], self.results[entry["id"]]) for entry in self.job["entries"]
        )


DEFAULTS = {
    "seed": 0, "threads": 1, "cpus": None, "rounds": 12, "seconds": 5.0, "warmup_s": 3.0, "timeout_s": 600.0,
    "result": "result.json",
}  # type: Dict[str, Any]  # fmt: skip


def run_job(path: str, report: Callable[[Dict[str, Any]], None]) -> Dict[str, Any]:
    """Run the job file and write its result file. Raises ValueError on another schema."""
    folder = os.path.dirname(os.path.abspath(path))
    with open(path) as file:
        job = dict(DEFAULTS, **json.load(file))
    if job.get("schema") != SCHEMA:
        raise ValueError("job schema %r; this runner knows %d" % (job.get("schema"), SCHEMA))

    def place(name: str) -> str:
        return os.path.join(folder, name)

    for entry in job["entries"]:
        entry["path"] = place(entry["path"])
        entry["feeds"] = {name: place(file) for name, file in entry.get("feeds", {}).items()}
        if entry.get("evaluate"):
            inputs = {name: place(file) for name, file in entry["evaluate"]["inputs"].items()}
            entry["evaluate"] = {"inputs": inputs, "outputs": place(entry["evaluate"]["outputs"])}
    facts, before = describe(), sensors()
    coordinator = Coordinator(job, report)
    entries = coordinator.run()
    for result in coordinator.results.values():
        if "outputs" in result:
            result["outputs"] = {
                name: os.path.relpath(file, folder) for name, file in result["outputs"].items()
            }
    notes = []
    if facts["load_1m"] > 0.5 * facts["cores"]:
        notes.append("the machine was busy: load %.1f on %d cores" % (facts["load_1m"], facts["cores"]))
    if facts["cpu_quota"] is not None and facts["cpu_quota"] < facts["cores"]:
        notes.append("a container limits this machine to %.2f CPUs" % facts["cpu_quota"])
    whole = {
        "schema": SCHEMA, "facts": facts, "threads": job["threads"], "cpus": job["cpus"] or [],
        "notes": notes, "sensors": {"before": before, "after": sensors()}, "order": coordinator.order,
        "entries": entries,
    }  # type: Dict[str, Any]  # fmt: skip
    target = place(job["result"])
    with open(target + ".part", "w") as file:
        json.dump(whole, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(target + ".part", target)
    return whole


def die_with_parent(parent: int) -> None:
    """Linux: this process is killed when its parent ends, so that a killed build leaves nothing measuring."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def main(arguments: List[str]) -> int:
    """Entry point; see the module's text."""
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]  # the neighbours of this file are no top-level modules
    flags = dict(zip(arguments, arguments[1:]))
    if "--parent" in flags:
        die_with_parent(int(flags["--parent"]))
    if "--cpus" in flags and sys.platform == "linux":
        os.sched_setaffinity(0, {int(cpu) for cpu in flags["--cpus"].split(",")})
    if "--worker" in arguments:
        return serve()
    if "--describe" in arguments:
        print(json.dumps(describe()))
        return 0

    def report(message: Dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    run_job(arguments[0], report)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
