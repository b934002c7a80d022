"""An ONNX file and a recipe become a serialized engine."""

import os
from typing import Any, Dict, List, Optional, Tuple

from ..files import write_atomically
from .library import EngineError, is_rtx, load_tensorrt, make_logger, version_of

PRECISION_FLAGS = ("FP16", "BF16", "INT8", "FP8")
"""Builder flags that strongly typed networks do without: precision is in the network. SPARSE_WEIGHTS holds there."""


def build_engine(
    onnx_path: str,
    recipe: Dict[str, Any],
    trt: Any = None,
    compile_for: str = "",
    cache_folder: str = "",
    level: Optional[int] = None,
) -> bytes:
    """The serialized engine of an ONNX file by a recipe.

    `compile_for`: an SM that need not be here ("sm_89"; TensorRT-RTX only). `cache_folder`: where a timing cache is
    read and written, if the recipe wants one. `level`: the builder's optimization level; its own where None. Raises
    EngineError with the library's own reasons.
    """
    trt = trt or load_tensorrt()
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    with open(onnx_path, "rb") as file:
        content = file.read()
    # The parser stays referenced until the engine is built: the network reads weights that the parser owns.
    network, parser = parse(trt, builder, logger, content, recipe)
    config, keep = configure(trt, builder, recipe, os.path.dirname(os.path.abspath(onnx_path)), compile_for)
    if level is not None:
        if not hasattr(config, "builder_optimization_level"):
            raise EngineError("TensorRT %s has no optimization levels: they came with 8.6" % trt.__version__)
        config.builder_optimization_level = level
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
    flags = [flag for flag in recipe["flags"] if recipe["typing"] != "strong" or flag not in PRECISION_FLAGS]
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
                sorted(chip for chip in trt.ComputeCapability.__members__ if chip.startswith("SM"))
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
