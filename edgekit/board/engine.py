"""Builds TensorRT engines where they run, and runs them. Goes to a board beside runner.py; runs on Python 3.6.

An artifact is an ONNX file and `build.json`, the recipe. `engine_for` turns it into an engine on arrival: it checks the
TensorRT version and the GPU against the recipe, builds, writes `engine/model.engine` beside `engine/model.engine.json`
(what it was built with), tests it against golden outputs where there are some, and builds again when the record no
longer fits. One code path serves `tensorrt` 8.2 to 10.x and `tensorrt_rtx`, which also compiles for a GPU that is
not here.

    python engine.py FOLDER     build the engine of the artifact in FOLDER, or say that it still fits

Recipe (build.json): schema 1, onnx, precision, typing "weak" or "strong", flags [BuilderFlag names], tf32,
    workspace_bytes, timing_cache (a file name, or ""), library, versions (">=8.2,<8.3"), opset, sm, device "gpu" or
    "dla", dla_core, gpu_fallback, quantization "", "explicit" or "implicit", calibration_cache, tolerance.

GPU memory is handled through libcuda, which every driver brings; no CUDA toolkit is needed.
"""

import collections
import ctypes
import ctypes.util
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

SCHEMA = 1
LIBRARIES = ("tensorrt", "tensorrt_rtx")
NONE_YET = "there is no engine yet"
SHARED = 32  # engines kept for all folders
ENGINE_FOLDER = "engine"
ENGINE, RECORD, RECIPE = "model.engine", "model.engine.json", "build.json"
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (cuda.h)
Say = Callable[[str], None]


class EngineError(RuntimeError):
    """What stands in the way of an engine, in one line."""


# ---- the library -------------------------------------------------------------------------------------------


def load_tensorrt(library: str = "") -> Any:
    """The module `tensorrt`, else `tensorrt_rtx`; or `library` alone. Raises ImportError that says what to install."""
    for name in (library,) if library else LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(
        "%s is not installed: on a Jetson it comes with JetPack (use the system's python3, or a virtual environment "
        "made with --system-site-packages); for RTX GPUs: pip install tensorrt_rtx_cu13"
        % (library or "tensorrt")
    )


def version_of(trt: Any) -> Tuple[int, ...]:
    """(8, 2, 1, 8) of "8.2.1.8"."""
    return tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:4])


def is_rtx(trt: Any) -> bool:
    """Whether this is TensorRT-RTX, whose versions count from 1."""
    return str(trt.__name__).startswith("tensorrt_rtx")


def fits_range(version: str, specifier: str) -> bool:
    """Whether "8.2.1" lies in ">=8.2,<8.3". Knows the comparisons that target descriptions use."""
    have = [int(part) for part in re.findall(r"\d+", version)]
    for operator, text in re.findall(r"(==|!=|>=|<=|~=|<|>)\s*([\d.]+)", specifier):
        want = [int(part) for part in text.strip(".").split(".")]
        size = max(len(have), len(want))
        left, right = have + [0] * (size - len(have)), want + [0] * (size - len(want))
        holds = {
            "==": left == right, "!=": left != right, ">=": left >= right, "<=": left <= right, "<": left < right,
            ">": left > right, "~=": left >= right and have[: len(want) - 1] == want[:-1],
        }  # fmt: skip
        if not holds[operator]:
            return False
    return True


def make_logger(trt: Any) -> Any:
    """A logger that keeps warnings and errors in `lines` instead of printing them."""

    class Lines(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines = []  # type: List[str]

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.lines.append(" ".join(message.split()))

    return Lines()


# ---- building ----------------------------------------------------------------------------------------------


def parse(trt: Any, builder: Any, logger: Any, content: bytes, recipe: Dict[str, Any]) -> Tuple[Any, Any]:
    """(network, parser) of an ONNX file's content. Raises EngineError with each node that the parser refuses."""
    known = trt.NetworkDefinitionCreationFlag.__members__
    flags = 0
    if "EXPLICIT_BATCH" in known:  # the only kind from 10 on, where the flag means nothing
        flags |= 1 << int(known["EXPLICIT_BATCH"])
    if recipe["typing"] == "strong":
        if "STRONGLY_TYPED" not in known:
            raise EngineError("TensorRT %s has no strongly typed networks" % trt.__version__)
        flags |= 1 << int(known["STRONGLY_TYPED"])
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        raise EngineError("; ".join(parser_errors(parser)) or "the parser refuses the file")
    for index in range(network.num_inputs):
        if any(dim < 0 for dim in network.get_input(index).shape):
            raise EngineError(
                "input %s has a dynamic shape; engines are built for fixed ones"
                % network.get_input(index).name
            )
    return network, parser


def parser_errors(parser: Any) -> List[str]:
    """One line per error: which node, which operation where the parser tells, and why."""
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        # Old parsers give the node's number alone.
        told = [getattr(error, name, str)() for name in ("node_name", "node_operator")]
        where = "node %s" % (told[0] or "number %d" % error.node()) + (" (%s)" % told[1] if told[1] else "")
        lines.append("%s: %s" % (where, " ".join(str(error.desc()).split())[:300]))
    return lines


def configure(
    trt: Any, builder: Any, recipe: Dict[str, Any], folder: str, compile_for: str
) -> Tuple[Any, Any]:
    """(builder configuration, what must outlive the build). Raises EngineError on what the library does not have."""
    config = builder.create_builder_config()
    known = trt.BuilderFlag.__members__
    if is_rtx(trt) or version_of(trt) >= (8, 4):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe["workspace_bytes"])
    else:
        config.max_workspace_size = recipe["workspace_bytes"]
    flags = (
        [] if recipe["typing"] == "strong" else list(recipe["flags"])
    )  # strong typing has no precision flags
    if recipe["device"] == "dla":
        if not builder.num_DLA_cores:
            raise EngineError("this machine has no DLA core that TensorRT %s can use" % trt.__version__)
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = recipe["dla_core"]
        flags += ["GPU_FALLBACK"] if recipe["gpu_fallback"] else []
    for flag in flags:
        if flag not in known:
            raise EngineError("TensorRT %s has no builder flag %s" % (trt.__version__, flag))
        config.set_flag(known[flag])
    if not recipe["tf32"] and "TF32" in known:  # on by default; it would make fp32 less than it says
        config.clear_flag(known["TF32"])
    keep = None
    if recipe["quantization"] == "implicit":
        keep = config.int8_calibrator = make_calibrator(
            trt, os.path.join(folder, recipe["calibration_cache"])
        )
    if compile_for:
        if not is_rtx(trt):
            raise EngineError("only TensorRT-RTX compiles for a GPU that is not here")
        name = compile_for.upper().replace("_", "")
        if name not in trt.ComputeCapability.__members__:
            known_names = ", ".join(
                sorted(each for each in trt.ComputeCapability.__members__ if each.startswith("SM"))
            )
            raise EngineError(
                "TensorRT-RTX %s does not compile for %s; it knows %s" % (trt.__version__, name, known_names)
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.__members__[name], 0)
    return config, keep


def make_calibrator(trt: Any, cache_path: str) -> Any:
    """Implicit calibration from a cache alone: ranges were found before, no data goes through the network here."""
    with open(cache_path, "rb") as file:
        _, _, scales = file.read().partition(b"\n")
    numbers = version_of(trt)
    number = (
        numbers[0] * 1000 + numbers[1] * 100 + numbers[2]
    )  # NV_TENSORRT_VERSION of NvInferVersion.h up to 9
    if numbers[0] >= 10:
        number = numbers[0] * 10000 + numbers[1] * 100 + numbers[2]
    content = b"TRT-%d-EntropyCalibration2\n" % number + scales

    class FromCache(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, _names: List[str]) -> None:
            return None

        def read_calibration_cache(self) -> bytes:
            return content

        def write_calibration_cache(self, _cache: bytes) -> None:
            return None

    return FromCache()


def build_engine(
    onnx_path: str, recipe: Dict[str, Any], trt: Any = None, compile_for: str = "", cache_folder: str = ""
) -> bytes:
    """The serialized engine of an ONNX file by a recipe.

    `compile_for`: an SM that need not be here ("sm_89"; TensorRT-RTX only). `cache_folder`: where a timing cache is
    read and written, if the recipe wants one. Raises EngineError with the library's own reasons.
    """
    trt = trt or load_tensorrt()
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    with open(onnx_path, "rb") as file:
        content = file.read()
    # The parser stays referenced until the engine is built: the network reads weights that the parser owns.
    network, parser = parse(trt, builder, logger, content, recipe)
    config, keep = configure(trt, builder, recipe, os.path.dirname(os.path.abspath(onnx_path)), compile_for)
    cache_path = (
        os.path.join(cache_folder, recipe["timing_cache"]) if cache_folder and recipe["timing_cache"] else ""
    )
    if cache_path:
        cached = b""
        if os.path.exists(cache_path):
            with open(cache_path, "rb") as file:
                cached = file.read()
        config.set_timing_cache(config.create_timing_cache(cached), False)
    engine = builder.build_serialized_network(network, config)
    del parser, keep
    if engine is None:
        raise EngineError(
            "TensorRT %s cannot build it: %s"
            % (trt.__version__, "; ".join(logger.lines[:3]) or "no reason given")
        )
    if cache_path:
        write_atomically(cache_path, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def write_atomically(path: str, content: bytes) -> None:
    """All of it or nothing, also when the power goes."""
    handle, part = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".part-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(part, 0o644)
    os.replace(part, path)


# ---- on arrival --------------------------------------------------------------------------------------------


def read_recipe(path: str) -> Dict[str, Any]:
    """`build.json`. Raises EngineError when it is none of ours."""
    try:
        with open(path) as file:
            recipe = json.load(file)
    except (OSError, ValueError) as error:
        raise EngineError("%s cannot be read: %s" % (path, error)) from error
    if not isinstance(recipe, dict) or recipe.get("schema") != SCHEMA:
        raise EngineError("%s is not a build recipe of schema %d" % (path, SCHEMA))
    return recipe


def file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_fit(trt: Any, recipe: Dict[str, Any], sm: str) -> None:
    """Raises EngineError when the recipe is for another library, another version or another GPU."""
    library = "tensorrt_rtx" if is_rtx(trt) else "tensorrt"
    if library != recipe["library"]:
        raise EngineError("the build is for %s, this machine has %s" % (recipe["library"], library))
    if not fits_range(trt.__version__, recipe["versions"]):
        raise EngineError(
            "the build is for %s %s, this machine has %s; build it for the target that this board is"
            % (library, recipe["versions"], trt.__version__)
        )
    if recipe["sm"] and sm != recipe["sm"]:
        raise EngineError(
            "the build is for a GPU of %s, this one is %s; build it for the target that this board is"
            % (recipe["sm"], sm)
        )


def inputs_of(folder: str, recipe: Dict[str, Any]) -> Dict[str, str]:
    """File name -> SHA-256 of all that the engine is built from."""
    names = [recipe["onnx"], RECIPE] + (
        [recipe["calibration_cache"]] if recipe["quantization"] == "implicit" else []
    )
    return {name: file_sha256(os.path.join(folder, name)) for name in names}


def stale(record_path: str, engine_path: str, wanted: Dict[str, Any]) -> str:
    """Why the stored engine no longer fits; "" when it does."""
    if not os.path.exists(engine_path) or not os.path.exists(record_path):
        return NONE_YET
    try:
        with open(record_path) as file:
            record = json.load(file)
    except (OSError, ValueError):
        return "the record of the engine cannot be read"
    if not isinstance(record, dict):
        return "the record of the engine cannot be read"
    for key, told in (
        ("library", "another library"), ("version", "another version"), ("sm", "another GPU architecture"),
        ("gpu", "another GPU"), ("files", "other files"),
    ):  # fmt: skip
        if record.get(key) != wanted[key]:
            if key == "files":
                return "it was built from other files"
            return "it was built by %s: %s, here it is %s" % (told, record.get(key), wanted[key])
    if record.get("engine_sha256") != file_sha256(engine_path):
        return "the engine file was changed"
    return ""


def engine_for(
    folder: str, say: Optional[Say] = None, compile_for: str = "", golden: str = "", trt: Any = None
) -> Tuple[str, str]:
    """(path of the engine, why it was built now or ""). Builds only when no stored engine fits.

    `compile_for`: for a GPU that is not here. `golden`: golden.npz to test a new engine against; by default that of
    the folder or of the one above it. Raises EngineError, ImportError.
    """
    tell = say or no_words
    recipe = read_recipe(os.path.join(folder, RECIPE))
    trt = trt or load_tensorrt(recipe["library"])
    found = {"sm": compile_for, "name": "compiled ahead of time"} if compile_for else gpu()
    if found is None:
        raise EngineError("there is no NVIDIA GPU here: engines are built on the board")
    check_fit(trt, recipe, found["sm"])
    place = os.path.join(folder, ENGINE_FOLDER)
    engine_path, record_path = os.path.join(place, ENGINE), os.path.join(place, RECORD)
    record = collections.OrderedDict(
        schema=SCHEMA,
        library="tensorrt_rtx" if is_rtx(trt) else "tensorrt",
        version=trt.__version__,
        sm=found["sm"],
        gpu=found["name"],
        files=inputs_of(folder, recipe),
    )
    reason = stale(record_path, engine_path, record)
    if not reason:
        return engine_path, ""
    os.makedirs(place, exist_ok=True)
    if reason == NONE_YET and take_shared(record, engine_path, record_path):
        tell("the engine was built here before")
        return engine_path, ""
    tell(
        "building the engine for %s with %s %s: %s"
        % (found["name"], record["library"], record["version"], reason)
    )
    begin = time.time()
    content = build_engine(os.path.join(folder, recipe["onnx"]), recipe, trt, compile_for, place)
    write_atomically(engine_path, content)
    if not compile_for:
        record["self_test"] = self_test_engine(
            trt, engine_path, golden or find_golden(folder), recipe["tolerance"]
        )
    record.update(
        engine_sha256=file_sha256(engine_path), seconds=round(time.time() - begin, 3), built=int(begin)
    )
    write_atomically(record_path, json.dumps(record, indent=1).encode())
    keep_shared(record, engine_path, record_path)
    tell("built in %.1f s" % record["seconds"])
    return engine_path, reason


def shared_folder() -> str:
    """Where engines are kept for all artifacts of this user; the environment's EDGEKIT_ENGINES names another place."""
    default = os.path.join(os.path.expanduser("~"), ".cache", "edgekit", "engines")
    return os.environ.get("EDGEKIT_ENGINES", default)


def shared_place(record: Dict[str, Any]) -> str:
    """The folder of one engine, named by all that it depends on."""
    facts = [record[key] for key in ("schema", "library", "version", "sm", "gpu")]
    text = json.dumps([facts, sorted(record["files"].items())])
    return os.path.join(shared_folder(), hashlib.sha256(text.encode()).hexdigest()[:32])


def take_shared(record: Dict[str, Any], engine_path: str, record_path: str) -> bool:
    """Copy the engine that was built from the same for another folder, if there is one: building takes minutes."""
    place = shared_place(record)
    kept = [os.path.join(place, name) for name in (ENGINE, RECORD)]
    if stale(kept[1], kept[0], record):
        return False
    os.utime(place, None)
    for source, target in zip(kept, (engine_path, record_path)):
        with open(source, "rb") as file:
            write_atomically(target, file.read())
    return True


def keep_shared(record: Dict[str, Any], engine_path: str, record_path: str) -> None:
    """Keep a copy for other folders, the newest SHARED engines only. A full disk costs no build."""
    place = shared_place(record)
    try:
        os.makedirs(place, exist_ok=True)
        for source, name in ((engine_path, ENGINE), (record_path, RECORD)):
            with open(source, "rb") as file:
                write_atomically(os.path.join(place, name), file.read())
        kept = [os.path.join(shared_folder(), name) for name in os.listdir(shared_folder())]
        for old in sorted(kept, key=os.path.getmtime)[:-SHARED]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        to_stderr("the engine is not kept for other folders: %s" % error)


def no_words(_text: str) -> None:
    """Says nothing."""


def to_stderr(text: str) -> None:
    """Standard output may be a protocol."""
    sys.stderr.write(text + "\n")


def find_golden(folder: str) -> str:
    """golden.npz in the folder or, in a bundle, above it; "" where there is none."""
    above = os.path.dirname(os.path.abspath(folder))
    for place in (folder, above):
        if os.path.exists(os.path.join(place, "golden.npz")):
            return os.path.join(place, "golden.npz")
    return ""


def self_test_engine(trt: Any, engine_path: str, golden: str, tolerance: float) -> Dict[str, Any]:
    """What `self_test` says of a fresh engine; empty without golden outputs."""
    if not golden:
        return {}
    with EngineSession(trt, engine_path) as session:
        try:
            return self_test(session, golden, tolerance)
        except EngineError:
            os.remove(engine_path)
            raise


def self_test(session: Any, golden: str, tolerance: float) -> Dict[str, Any]:
    """Run golden inputs (in0 [samples, ...], ...) and compare with out0, ... Raises EngineError when one is off."""
    names = [[spec["name"] for spec in session.signature[side]] for side in ("inputs", "outputs")]
    off, samples = 0.0, 0
    with np.load(golden, allow_pickle=False) as stored:
        inputs = [stored["in%d" % index] for index in range(len(names[0]))]
        outputs = [stored["out%d" % index] for index in range(len(names[1]))]
    for samples in range(1, len(inputs[0]) + 1):
        answers = session.run({name: array[samples - 1 : samples] for name, array in zip(names[0], inputs)})
        for name, right in zip(names[1], outputs):
            largest = max(float(np.abs(right.astype(np.float64)).max()), 1e-6)
            difference = np.abs(
                answers[name].astype(np.float64) - right[samples - 1 : samples].astype(np.float64)
            )
            off = max(off, float(difference.max()) / largest)
    if not off <= tolerance:  # a NaN is no match either
        raise EngineError(
            "the engine does not give its golden outputs: off by %.3g, allowed %.3g" % (off, tolerance)
        )
    return {"samples": samples, "off": off, "tolerance": tolerance}


# ---- the GPU -----------------------------------------------------------------------------------------------


def load_libcuda() -> Any:
    """The driver's library, or None where there is no driver."""
    for name in (
        "libcuda.so.1",
        ctypes.util.find_library("cuda"),
        "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1",
    ):
        if not name:
            continue
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def gpu() -> Optional[Dict[str, str]]:
    """{"sm", "name"} of the first NVIDIA GPU, or None."""
    library = load_libcuda()
    if library is None or library.cuInit(0) != 0:
        return None
    device = ctypes.c_int()
    if library.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, 256, device)
    numbers = []
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        numbers.append(value.value)
    return {"sm": "sm_%d%d" % tuple(numbers), "name": name.value.decode(errors="replace")}


class Cuda(object):
    """Device memory and one stream, by the driver API in the device's primary context, which TensorRT uses too."""

    def __init__(self) -> None:
        self.library = load_libcuda()
        if self.library is None:
            raise EngineError("there is no NVIDIA driver here")
        device, self.context, self.stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.device = device
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.call("cuCtxSetCurrent", self.context)
        self.call("cuStreamCreate", ctypes.byref(self.stream), 0)
        self.allocated = []  # type: List[Any]

    def call(self, function: str, *arguments: Any) -> None:
        """Raises EngineError with CUDA's number when the call fails."""
        code = getattr(self.library, function)(*arguments)
        if code != 0:
            raise EngineError("%s failed with CUDA error %d" % (function, code))

    def allocate(self, size: int) -> int:
        """Address of so many bytes on the device."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self.allocated.append(address)
        return int(address.value)

    def upload(self, address: int, array: Any) -> None:
        """Copy a contiguous array to the device, and wait for it."""
        self.call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), ctypes.c_void_p(array.ctypes.data),
                  ctypes.c_size_t(array.nbytes), self.stream)  # fmt: skip
        self.synchronize()

    def download(self, address: int, array: Any) -> None:
        """Copy from the device into a contiguous array, and wait for it."""
        self.call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address),
                  ctypes.c_size_t(array.nbytes), self.stream)  # fmt: skip
        self.synchronize()

    def synchronize(self) -> None:
        self.call("cuStreamSynchronize", self.stream)

    def handle(self) -> int:
        """The stream as TensorRT takes it."""
        return int(self.stream.value or 0)

    def close(self) -> None:
        for address in self.allocated:
            self.call("cuMemFree_v2", address)
        self.allocated = []
        self.call("cuStreamDestroy_v2", self.stream)
        self.call("cuDevicePrimaryCtxRelease", self.device)


# ---- running -----------------------------------------------------------------------------------------------


def io_tensors(trt: Any, engine: Any) -> List[Tuple[str, bool, Any, List[int]]]:
    """(name, whether an input, numpy type, shape) of each, by the tensor interface (8.5 on) or by bindings."""
    if is_rtx(trt) or version_of(trt) >= (8, 5):
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            (
                name,
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                np.dtype(trt.nptype(engine.get_tensor_dtype(name))),
                list(engine.get_tensor_shape(name)),
            )
            for name in names
        ]
    return [
        (
            engine.get_binding_name(index),
            bool(engine.binding_is_input(index)),
            np.dtype(trt.nptype(engine.get_binding_dtype(index))),
            list(engine.get_binding_shape(index)),
        )
        for index in range(engine.num_bindings)
    ]


class EngineSession(object):
    """One engine on one GPU: buffers on the device, inputs put in place by `bind`, `step` is one inference."""

    def __init__(self, trt: Any, engine_path: str, cuda: Any = None) -> None:
        self.trt = trt
        self.logger = make_logger(trt)
        with open(engine_path, "rb") as file:
            content = file.read()
        self.cuda = cuda or Cuda()
        self.runtime = trt.Runtime(self.logger)
        self.raw = self.runtime.deserialize_cuda_engine(content)
        if self.raw is None:
            raise EngineError(
                "TensorRT %s cannot load the engine: %s" % (trt.__version__, "; ".join(self.logger.lines[:3]))
            )
        self.context = self.raw.create_execution_context()
        self.tensors = io_tensors(trt, self.raw)
        self.signature = {
            side: [
                {"name": name, "dtype": dtype.name, "shape": [dim if dim >= 0 else None for dim in shape]}
                for name, is_input, dtype, shape in self.tensors
                if is_input == (side == "inputs")
            ]
            for side in ("inputs", "outputs")
        }
        self.facts = {"library": trt.__name__, "version": trt.__version__}
        self.buffers = collections.OrderedDict()  # type: Dict[str, Tuple[int, Any]]
        for name, _, dtype, shape in self.tensors:
            array = np.zeros(shape, dtype)
            self.buffers[name] = (self.cuda.allocate(array.nbytes), array)
        self.by_name = is_rtx(trt) or version_of(trt) >= (8, 5)
        if self.by_name:
            for name, (address, _) in self.buffers.items():
                self.context.set_tensor_address(name, address)

    def __enter__(self) -> "EngineSession":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.context = None
        self.raw = None
        self.cuda.close()

    def bind(self, feeds: Dict[str, Any]) -> None:
        """Put inputs on the device. Raises ValueError on other names or shapes."""
        wanted = [spec["name"] for spec in self.signature["inputs"]]
        if set(feeds) != set(wanted):
            raise ValueError("feeds are named %s, the network takes %s" % (sorted(feeds), wanted))
        for name in wanted:
            address, buffer = self.buffers[name]
            array = np.ascontiguousarray(feeds[name], dtype=buffer.dtype)
            if array.shape != buffer.shape:
                raise ValueError("input %s is %s, the engine takes %s" % (name, array.shape, buffer.shape))
            self.cuda.upload(address, array)

    def step(self) -> None:
        """One inference on the inputs in place; returns when the GPU is done."""
        if self.by_name:
            done = self.context.execute_async_v3(self.cuda.handle())
        else:
            done = self.context.execute_async_v2(
                [address for address, _ in self.buffers.values()], self.cuda.handle()
            )
        if not done:
            raise EngineError("the inference failed: %s" % "; ".join(self.logger.lines[-3:]))
        self.cuda.synchronize()

    def run(self, feeds: Dict[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array."""
        self.bind(feeds)
        self.step()
        answers = {}
        for spec in self.signature["outputs"]:
            address, buffer = self.buffers[spec["name"]]
            array = np.empty_like(buffer)
            self.cuda.download(address, array)
            answers[spec["name"]] = array
        return answers

    def layer_times(self, feeds: Dict[str, Any], runs: int) -> Dict[str, float]:
        """Layer -> mean milliseconds over `runs` runs after one that warms up, by TensorRT's profiler."""
        times = collections.OrderedDict()  # type: Dict[str, List[float]]

        class Times(self.trt.IProfiler):  # type: ignore[misc, name-defined]
            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(ms)

        profiler = Times()
        self.context.profiler = profiler
        self.bind(feeds)
        for _ in range(runs + 1):
            self.step()
        return collections.OrderedDict(
            (name, sum(ms[1:]) / max(len(ms) - 1, 1)) for name, ms in times.items()
        )


def open_artifact(path: str, say: Say = to_stderr) -> EngineSession:
    """The session of an artifact's ONNX file: its engine is built first where none fits."""
    folder = os.path.dirname(os.path.abspath(path))
    trt = load_tensorrt(read_recipe(os.path.join(folder, RECIPE))["library"])
    engine_path, reason = engine_for(folder, say, trt=trt)
    session = EngineSession(trt, engine_path)
    session.facts["engine"] = "built now: " + reason if reason else "found built"
    return session


def main(arguments: List[str]) -> int:
    """Entry point; see the module's text."""
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]  # the neighbours of this file are no top-level modules
    if sys.platform == "linux":  # who started it may be killed at its time limit
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, linux/prctl.h
    if len(arguments) != 1:
        sys.stderr.write("usage: python engine.py FOLDER\n")
        return 2
    try:
        path, reason = engine_for(arguments[0], to_stderr)
    except (EngineError, ImportError) as error:
        sys.stderr.write("engine.py: %s\n" % error)
        return 1
    sys.stdout.write("%s: %s\n" % (path, "built" if reason else "still fits"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
