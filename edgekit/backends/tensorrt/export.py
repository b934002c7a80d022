"""Makes the files of a TensorRT candidate: the ONNX network that the board's parser takes, and how to build it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.tensorrt.build_recipe import (
    SPARSE_WEIGHTS,
    Toolkit,
    calibration_cache,
    recipe_for,
    toolkit,
)
from edgekit.backends.tensorrt.half import Halved, largest_magnitudes, to_half
from edgekit.backends.tensorrt.lint import prepared_or_issues
from edgekit.backends.tensorrt.operators import dla_fallbacks
from edgekit.backends.tensorrt.quantize import quantize
from edgekit.errors import StageError
from edgekit.graph.proto import opset_of
from edgekit.graph.zeros import sparse_layers
from edgekit.runtimes import RUNTIMES

if TYPE_CHECKING:
    import onnx

    from edgekit.backends.base import ExportRequest
    from edgekit.quantize import QuantPlan

__all__ = ["ENTRY", "HOST", "RECIPE", "Written", "refuse", "write_files"]

ENTRY, RECIPE, CACHE = "model.onnx", "build.json", "calibration.cache"
HOST = "host.onnx"
"""What a runtime of this machine executes in place of `model.onnx`, where the two differ. It stays here, but for
the DLA's: a bundle's golden outputs are those of its Q/DQ, too far from float to check the one by the other."""

PRECISIONS = ("fp32", "fp16", "int8")
REFUSED = {
    "bf16": "use fp16",
    "w8": "use int8",
    "fp8": "use int8",
    "fp4": "use int8",
    "int8-dynamic": "use int8",
}
"""Precision → what to do instead."""


@dataclass
class _Parts:
    """`entry` goes to the board. `host` is executed here where it is not None."""

    entry: onnx.ModelProto
    host: onnx.ModelProto | None = None
    host_travels: bool = False
    cache: bytes = b""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """Names of the files that go to the board, and notes for the report."""

    files: tuple[str, ...]
    notes: tuple[str, ...]


def write_files(request: ExportRequest, plan: QuantPlan | None) -> Written:
    """Write them into `request.folder`; int8 by the plan. Raises StageError when this candidate cannot be made."""
    candidate = request.candidate
    refuse(request)
    kit = toolkit(request.target)
    model, issues = prepared_or_issues(Path(request.variant.onnx_path), kit)
    errors = [issue for issue in issues if issue.severity == "error"]
    if errors or model is None:
        place = f" (node {errors[0].node})" if errors[0].node else ""
        raise StageError("export", f"{errors[0].reason}{place}", errors[0].remedy)
    if plan is not None:
        parts = _int8(request, kit, model, plan)
    else:
        parts = _half(request, kit, model) if candidate.precision == "fp16" else _Parts(model)
    if candidate.device == "dla":
        parts.notes.append(_fallback_note(model))
    sparse = sparse_layers(parts.entry) if has_sparse_kernels(request) else ()
    if sparse:
        parts.notes.append(
            f"Weights of {len(sparse)} layers are 2:4: the builder may use sparse tensor cores ({SPARSE_WEIGHTS}) "
            "where they are faster."
        )
    files = [ENTRY, RECIPE]
    _save(parts.entry, request.folder / ENTRY)
    if parts.host is not None:
        _save(parts.host, request.folder / HOST)
        files += [HOST] if parts.host_travels else []
    if parts.cache:
        (request.folder / CACHE).write_bytes(parts.cache)
        files.append(CACHE)
    recipe = recipe_for(
        request.target,
        candidate.precision,
        candidate.device,
        opset_of(parts.entry),
        cache=CACHE if parts.cache else "",
        sparse=bool(sparse),
    )
    (request.folder / RECIPE).write_bytes(recipe.encode())
    return Written(tuple(files), tuple(parts.notes))


def has_sparse_kernels(request: ExportRequest) -> bool:
    """Whether the target's GPU leaves out zeros of 2:4 weights in this precision."""
    kernels = RUNTIMES["tensorrt"].sparse
    assert kernels is not None
    return (
        request.target.has_sparse_gpu()
        and request.candidate.device != "dla"
        and request.candidate.precision in kernels.precisions
    )


def refuse(request: ExportRequest) -> None:
    """Raises StageError for what is not made, or the board does not have, before any work."""
    target, candidate = request.target, request.candidate
    if candidate.precision not in PRECISIONS:
        raise StageError(
            "export",
            f"no {candidate.precision} candidate is made for TensorRT",
            REFUSED.get(candidate.precision, "use fp32, fp16 or int8"),
        )
    runtime = target.runtime("tensorrt")
    lack = (runtime.rejected.get(candidate.precision) if runtime else None) or target.lacks(
        candidate.precision
    )
    if runtime is not None and candidate.precision not in runtime.precisions:
        reason = lack.reason if lack else f"TensorRT has no {candidate.precision} there"
        raise StageError(
            "export",
            f"{target.name} cannot run {candidate.precision}: {reason}",
            lack.instead if lack else "",
        )
    if candidate.device == "dla" and not target.has_dla():
        raise StageError(
            "export", f"{target.name} has no DLA", "leave the device out: TensorRT then uses the GPU"
        )
    if candidate.device == "dla" and candidate.precision == "fp32":
        raise StageError("export", "the DLA computes in fp16 and int8 only", "use fp16 or int8")


def _half(request: ExportRequest, kit: Toolkit, model: onnx.ModelProto) -> _Parts:
    """Strong typing: float16 in the network. Weak: the network stays float32, the recipe has the flag."""
    halved = _halved(request, model)
    notes = []
    if halved.in_float:
        names = ", ".join(halved.in_float[:4]) + (" and others" if len(halved.in_float) > 4 else "")
        notes.append(f"{len(halved.in_float)} nodes hold values that float16 cannot: {names}.")
    if kit.strong and request.candidate.device != "dla":
        return _Parts(halved.model, notes=notes)
    if halved.in_float:
        notes.append(
            "TensorRT chooses the precision of each layer itself there: the golden outputs tell on the board."
        )
    return _Parts(model, host=halved.model, notes=notes)


def _halved(request: ExportRequest, model: onnx.ModelProto) -> Halved:
    return to_half(model, largest_magnitudes(model, request.calibration, threads=request.threads))


def _int8(request: ExportRequest, kit: Toolkit, model: onnx.ModelProto, plan: QuantPlan) -> _Parts:
    """Explicit Q/DQ, or on the DLA the float network with a calibration cache of the same ranges."""
    on_dla = request.candidate.device == "dla"
    form = "integers" if on_dla else kit.weights  # for the DLA only ONNX Runtime reads it
    made = quantize(plan, model, weights=form)
    cache = calibration_cache(made.ranges, kit.oldest) if kit.has_calibrator else b""
    notes = list(made.notes)
    if not on_dla and kit.weights == "pairs":
        notes.append(
            "The file holds float weights behind Q/DQ, as this TensorRT wants them; the engine holds int8."
        )
    if not on_dla:
        return _Parts(made.model, cache=cache, notes=notes)
    if not cache:
        raise StageError(
            "export", f"{request.target.name} has no implicit calibration, which the DLA needs", "use fp16"
        )
    notes.append(
        "The DLA takes no Q/DQ: it calibrates from a cache of the same ranges; here the Q/DQ graph runs."
    )
    return _Parts(made.plain, made.model, host_travels=True, cache=cache, notes=notes)


def _fallback_note(model: onnx.ModelProto) -> str:
    fallen = dla_fallbacks(model)
    if not fallen:
        return "By NVIDIA's tables all of it runs on the DLA; the build on the board has the last word."
    named = "; ".join(f"{name}: {reason}" for name, reason in fallen[:4])
    more = f"; and {len(fallen) - 4} more" if len(fallen) > 4 else ""
    return (
        f"{len(fallen)} of {len(model.graph.node)} nodes fall back from the DLA to the GPU ({named}{more})."
    )


def _save(model: onnx.ModelProto, path: Path) -> None:
    from edgekit.errors import UserError
    from edgekit.graph.proto import check, write_model

    try:
        check(model, path.name)
    except UserError as error:
        raise StageError("export", str(error)) from error
    write_model(model, path)
