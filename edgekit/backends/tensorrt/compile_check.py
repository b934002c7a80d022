"""Asks TensorRT-RTX, where it is installed, whether it takes a network: its parser, and its compiler without a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.backends.tensorrt.build_recipe import RTX, Toolkit

if TYPE_CHECKING:
    import onnx

__all__ = ["CompileCheck", "compile_check"]

STAND_INS = {"sm_87": "sm_86", "sm_110": "sm_120"}
"""GPU that TensorRT-RTX does not compile for → its nearest relative that it does."""

COMPILES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
"""trt.ComputeCapability of TensorRT-RTX 1.7.1."""


@dataclass(frozen=True)
class CompileCheck:
    """`done`: what was asked, for people. `problems`: what TensorRT said; empty when it took the network.

    `binding`: it is the target's own library and GPU, so what it refuses is refused there.
    """

    done: str
    kind: Literal["none", "parsed", "compiled"]
    problems: tuple[str, ...] = ()
    binding: bool = False


def rtx_installed() -> bool:
    """Cheap: nothing is imported."""
    return find_spec(RTX) is not None


def stand_in(kit: Toolkit) -> str:
    """The GPU that TensorRT-RTX compiles for in place of the target's; "" where there is none near."""
    return kit.sm if kit.sm in COMPILES else STAND_INS.get(kit.sm, "")


def compile_check(model: onnx.ModelProto, kit: Toolkit, flags: Sequence[str] = ()) -> CompileCheck:
    """Parse the network and, where the GPU or a relative is known, compile it (a fraction of a second) with the
    builder's `flags`: those of a recipe."""
    if not rtx_installed():
        return CompileCheck('TensorRT-RTX is not installed (pip install "edgekit[tensorrt-rtx]")', "none")
    from edgekit.board.tensorrt.build import PRECISION_FLAGS, parse
    from edgekit.board.tensorrt.library import EngineError, load_tensorrt, make_logger

    trt = load_tensorrt(RTX)
    own = kit.library == RTX
    name = f"TensorRT-RTX {trt.__version__}"
    chip = stand_in(kit)
    recipe = _plain_recipe(flags)
    try:
        if chip:
            _compile(trt, model, recipe, chip)
        else:
            logger = make_logger(trt)
            parse(trt, trt.Builder(logger), logger, model.SerializeToString(), recipe)
    except EngineError as error:
        return CompileCheck(f"{name} refuses it", "none", tuple(str(error).split("; node ")), own)
    if not chip:
        return CompileCheck(f"read by the parser of {name}, which does not compile for {kit.sm}", "parsed")
    beside = [flag for flag in flags if flag not in PRECISION_FLAGS]
    told = f"compiled for {chip} by {name}" + (f" with {', '.join(beside)}" if beside else "")
    return CompileCheck(
        told if own else f"{told}, which stands in for {kit.sm} and its TensorRT", "compiled", (), own
    )


def _compile(trt: Any, model: onnx.ModelProto, recipe: dict[str, Any], chip: str) -> None:
    from edgekit.board.tensorrt.build import build_engine

    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        build_engine(str(path), recipe, trt, chip)


def _plain_recipe(flags: Sequence[str]) -> dict[str, Any]:
    """A recipe for the check alone: strongly typed, so precision is what the network says."""
    return {
        "typing": "strong",
        "flags": list(flags),
        "tf32": False,
        "workspace_bytes": 1 << 30,
        "timing_cache": "",
        "device": "gpu",
        "dla_core": 0,
        "gpu_fallback": False,
        "quantization": "",
        "calibration_cache": "",
    }
