"""How an engine is built on the board: `build.json`, read by board/tensorrt/, and the implicit calibration cache."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.errors import StageError
from edgekit.types import Precision

if TYPE_CHECKING:
    from edgekit.hardware import Runtime, Target
    from edgekit.quantize import Range

__all__ = ["RTX", "SPARSE_WEIGHTS", "BuildRecipe", "Toolkit", "calibration_cache", "recipe_for", "toolkit"]

Version = tuple[int, ...]

RTX = "tensorrt_rtx"
STRONG_FROM: Version = (10, 12)
"""From here on precision is in the network; implicit calibration and precision flags are deprecated before they go
(TensorRT 10.12 release notes; gone in 11)."""

INTEGERS_FROM: Version = (10,)
"""From here on int8 constants may stand before DequantizeLinear; older parsers want float weights behind Q/DQ."""

SPARSE_WEIGHTS = "SPARSE_WEIGHTS"
"""Of trt.BuilderFlag, from 8.0 on; strong typing takes it too."""

LARGEST_WORKSPACE = 1 << 30
SHARE_OF_MEMORY = 4
"""The builder's scratch memory is at most this part of what one model may use on the board (edgekit's rule)."""

TOLERANCES: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 1e-2, "int8": 5e-2}
"""How far the engine's outputs may be from the golden ones, relative to the largest; those of the bundle."""


@dataclass(frozen=True)
class Toolkit:
    """The TensorRT that a target has. `oldest`: first version of its range; `known`: what to hold its operators to.

    `library`: the Python module. `strong`: networks are strongly typed. `sm`: of its GPU, "sm_87".
    """

    library: Literal["tensorrt", "tensorrt_rtx"]
    versions: str
    oldest: Version
    strong: bool
    opset: int
    sm: str

    @property
    def weights(self) -> Literal["integers", "pairs"]:
        """In which form the parser takes int8 weights."""
        return "integers" if self.library == RTX or self.oldest >= INTEGERS_FROM else "pairs"

    @property
    def has_calibrator(self) -> bool:
        """Whether implicit calibration from a cache still works there."""
        return self.library != RTX and not self.strong

    @property
    def known(self) -> Version:
        """The version whose operator table holds: TensorRT-RTX counts its own versions, its parser is a late 10."""
        return (10, 15) if self.library == RTX else self.oldest


def toolkit(target: Target) -> Toolkit:
    """Raises StageError when the target does not run TensorRT."""
    runtime = target.runtime("tensorrt")
    if runtime is None:
        raise StageError("export", f"{target.name} does not run TensorRT", "choose a jetson or an rtx target")
    sm = next((chip.sm for chip in target.accelerators if chip.kind == "gpu" and chip.sm), "")
    rtx = runtime.package.startswith(RTX)
    oldest = _oldest(runtime)
    return Toolkit(
        library="tensorrt_rtx" if rtx else "tensorrt",
        versions=runtime.versions,
        oldest=oldest,
        strong=rtx or oldest >= STRONG_FROM,
        opset=runtime.opset_max,
        sm=sm,
    )


def _oldest(runtime: Runtime) -> Version:
    """The lower end of a version specifier; (0,) where it has none."""
    match = re.search(r"(?:>=|==|~=|>)\s*([\d.]+)", runtime.versions)
    return tuple(int(part) for part in match[1].split(".")) if match else (0,)


@dataclass(frozen=True)
class BuildRecipe:
    """The content of `build.json`; the keys are explained in board/tensorrt/record.py."""

    onnx: str
    precision: Precision
    typing: Literal["weak", "strong"]
    flags: tuple[str, ...]
    tf32: bool
    workspace_bytes: int
    timing_cache: str
    library: str
    versions: str
    opset: int
    sm: str
    device: Literal["gpu", "dla"]
    dla_core: int
    gpu_fallback: bool
    quantization: Literal["", "explicit", "implicit"]
    calibration_cache: str
    tolerance: float
    schema: int = 1

    def encode(self) -> bytes:
        """As JSON, equal bytes for equal recipes."""
        import json

        return json.dumps(asdict(self), indent=1).encode() + b"\n"


def recipe_for(
    target: Target, precision: Precision, device: str, opset: int, *, cache: str = "", sparse: bool = False
) -> BuildRecipe:
    """The recipe of one candidate. `cache`: name of its calibration cache, where it has one. `sparse`: the builder may
    use sparse tensor cores where weights are 2:4.

    On the DLA int8 comes by implicit calibration: it takes no Q/DQ (TensorRT documentation, "Working with DLA").
    Float layers of an int8 engine may run in float16 where precision is weak. Raises StageError without TensorRT.
    """
    kit = toolkit(target)
    on_dla = device == "dla"
    strong = kit.strong and not on_dla
    flags: tuple[str, ...] = ()
    if not strong:
        flags = {"fp16": ("FP16",), "int8": ("FP16", "INT8")}.get(precision, ())
    if sparse:
        flags = (*flags, SPARSE_WEIGHTS)
    explicit = precision == "int8" and not on_dla
    limit = target.model_bytes
    workspace = LARGEST_WORKSPACE if limit is None else min(LARGEST_WORKSPACE, limit // SHARE_OF_MEMORY)
    return BuildRecipe(
        onnx="model.onnx",
        precision=precision,
        typing="strong" if strong else "weak",
        flags=flags,
        # 10 bits of mantissa would make fp32 differ from what was measured; elsewhere float16 is coarser anyway.
        tf32=precision != "fp32",
        workspace_bytes=workspace,
        timing_cache="" if kit.library == RTX else "timing.cache",
        library=kit.library,
        versions=kit.versions,
        opset=opset,
        sm=kit.sm,
        device="dla" if on_dla else "gpu",
        dla_core=0,
        gpu_fallback=on_dla,
        quantization="explicit" if explicit else "implicit" if precision == "int8" else "",
        calibration_cache=cache,
        tolerance=TOLERANCES[precision],
    )


def calibration_cache(ranges: Mapping[str, Range], version: Version) -> bytes:
    """TensorRT's text format: a line that names version and algorithm, then `tensor: scale`, the scale as the bits of
    a big-endian float32 in hexadecimal; it is the largest magnitude over 127.

    The header is written for the oldest version of the target; board/tensorrt/build.py puts in that of the board.
    """
    major, minor, patch = (*version, 0, 0)[:3]
    number = major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
    lines = [f"TRT-{number}-EntropyCalibration2"]
    for name, values in ranges.items():
        scale = values.symmetric().high / 127.0
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    return ("\n".join(lines) + "\n").encode()
