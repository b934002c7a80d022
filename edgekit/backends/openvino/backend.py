"""OpenVINO: fp32, bf16 and fp16 from one conversion, int8 and weight-only int8 by NNCF."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends.artifact import installed_versions, written_artifact
from edgekit.backends.repaired import on_repaired
from edgekit.errors import MissingExtraError, StageError
from edgekit.precisions import PRECISIONS
from edgekit.runtimes import RUNTIMES
from edgekit.types import Artifact, BackendName, Examination, Issue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest, Session
    from edgekit.backends.openvino.plan import OpenVinoPlanner
    from edgekit.hardware import Target
    from edgekit.quantize import QuantPlan, Scheme
    from edgekit.types import Audit, Candidate, LayerPart, LayerRow, LayerTime, Precision, Variant

__all__ = ["OpenVinoBackend"]

NAME: BackendName = "openvino"
PACKAGES = ("openvino", "nncf", "onnx")
EXTRA = "openvino"
ENTRY = "model.xml"

LEAST_ZEROS = 0.5
"""Share of a layer's weights from which on its sparse kernel is asked for: what 2:4 has."""

HINTS: Mapping[Precision, str] = {
    "fp32": "f32",
    "bf16": "bf16",
    "fp16": "f16",
    "int8": "f32",
    "w8": "f32",
    "w4": "f32",
}
"""Precision of a candidate → in what its float arithmetic runs.

Without a hint OpenVINO takes bf16 where the CPU has it, also for fp32 models (docs.openvino.ai, "Precision
Control").
"""


def _planner(request: ExportRequest) -> OpenVinoPlanner:
    from edgekit.backends.openvino.plan import OpenVinoPlanner, refused_floats

    rule = request.target.int8_rule(request.features)
    refused = refused_floats(request.target, request.features)
    versions = installed_versions(EXTRA, PACKAGES)
    return OpenVinoPlanner(request.variant, rule, versions, refused)


def _integers(request: ExportRequest) -> Scheme:
    """Those that an INT8 request is quantized to. Raises StageError for a recipe that cannot be honoured."""
    from edgekit.quantize.planning import refuse

    assert request.recipe is not None
    planner = _planner(request)
    refuse(planner, request.recipe)
    return planner.integers(request.recipe)


class OpenVinoBackend:
    """Intel's runtime for its CPUs, GPUs and NPUs; the artifact is `model.xml` with `model.bin`."""

    @property
    def name(self) -> BackendName:
        return NAME

    @property
    def extra(self) -> str:
        """`pip install "edgekit[openvino]"`."""
        return EXTRA

    def versions(self) -> dict[str, str]:
        """Versions of openvino, nncf and onnx from their metadata. Raises MissingExtraError."""
        return installed_versions(EXTRA, PACKAGES)

    def lint(self, variant: Variant, target: Target) -> Examination:
        """Dynamic shapes where the device wants static ones, and operators that OpenVINO does not know."""
        device = _device(target)
        issues = [
            Issue(
                "error" if device == "NPU" else "warning",
                spec.name,
                f"input {spec.name} has a dynamic shape, {device} runs static ones" + _slower(device),
                "export the network with static shapes",
            )
            for spec in variant.signature.inputs
            if None in spec.shape
        ]
        return Examination(
            (*issues, *_unsupported(variant.onnx_path, device)), "rules, and OpenVINO's own reader"
        )

    @on_repaired(_integers)
    def plan(self, request: ExportRequest) -> QuantPlan:
        """With ranges of our observers unless the recipe leaves them to NNCF; biases are always NNCF's."""
        from edgekit.quantize import make_plan

        return make_plan(
            _planner(request),
            Path(request.variant.onnx_path),
            request.recipe,
            request.calibration,
            memo=request.memo,
            threads=request.threads,
            times=request.times,
        )

    @on_repaired(_integers)
    def export(self, request: ExportRequest) -> Artifact:
        """Write model.xml and model.bin, then compile them once to see in what they run."""
        from edgekit.backends.openvino.audit import audit_model
        from edgekit.backends.openvino.ir import first_line, write_model

        precision = request.candidate.precision
        if precision not in HINTS:
            raise StageError("export", f"OpenVINO has no {precision}", f"it has {', '.join(HINTS)}")
        versions = self.versions()
        started = time.perf_counter()
        plan = self.plan(request) if precision == "int8" else None
        model, notes = _make(request, plan)
        path = request.folder / ENTRY
        write_model(model, path, fp16_weights=precision == "fp16")
        options = _options(request.target, request.candidate, plan) | _sparse_options(request)
        files = (ENTRY, "model.bin")
        built = written_artifact(
            request, NAME, files, versions=versions, started=started, options=options, plan=plan
        )
        try:
            in_float = () if plan is None else tuple(layer.name for layer in plan.in_float)
            audit = audit_model(path, options, request.threads, wanted=precision, in_float=in_float)
        except RuntimeError as problem:
            raise StageError("compile", first_line(problem)) from problem
        return replace(built, audit=replace(audit, notes=(*notes, *audit.notes)))

    def open(self, artifact: Artifact, threads: int = 1) -> Session:
        """Load the artifact in this process. Raises StageError when OpenVINO refuses it."""
        from edgekit.backends.openvino.ir import first_line
        from edgekit.board.sessions.opening import open_session

        try:
            session: Session = open_session(NAME, str(_entry(artifact)), dict(artifact.options), threads)
        except ModuleNotFoundError as problem:
            raise MissingExtraError("openvino", self.extra) from problem
        except RuntimeError as problem:
            raise StageError("load", first_line(problem)) from problem
        return session

    def on_host(self, artifact: Artifact) -> Artifact:
        """On the CPU, in float32 where the network is not quantized: every machine has that device."""
        if "DEVICE" not in artifact.options:
            return artifact
        return replace(artifact, options={"INFERENCE_PRECISION_HINT": HINTS["fp32"]})

    def audit(self, artifact: Artifact, threads: int = 1) -> Audit:
        """The precision of each layer in the compiled model. Raises StageError when it does not compile."""
        from edgekit.backends.openvino.audit import audit_model
        from edgekit.backends.openvino.ir import first_line

        try:
            return audit_model(_entry(artifact), artifact.options, threads)
        except ModuleNotFoundError as problem:
            raise MissingExtraError("openvino", self.extra) from problem
        except RuntimeError as problem:
            raise StageError("compile", first_line(problem)) from problem

    def layer_parts(
        self, artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]], folder: Path
    ) -> tuple[LayerPart, ...]:
        """None: OpenVINO counts by layer."""
        return ()

    def read_layers(self, artifact: Artifact, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
        """Executed layers, in execution order."""
        from edgekit.backends.openvino.audit import read_layers
        from edgekit.backends.openvino.ir import first_line

        try:
            return read_layers(_entry(artifact), rows)
        except ModuleNotFoundError as problem:
            raise MissingExtraError("openvino", self.extra) from problem
        except RuntimeError as problem:
            raise StageError("profile", first_line(problem)) from problem


def _make(request: ExportRequest, plan: QuantPlan | None) -> tuple[Any, tuple[str, ...]]:
    """The `openvino.Model` of the candidate, and notes on how it came about."""
    from edgekit.backends.openvino.ir import read_onnx

    if plan is not None and request.calibration is not None:
        from edgekit.backends.openvino.quantize import quantize

        inputs = tuple(spec.name for spec in request.variant.signature.inputs)
        made = quantize(plan, Path(request.variant.onnx_path), inputs, request.calibration)
        return made.model, made.notes
    bits = PRECISIONS[request.candidate.precision].weight_bits
    if PRECISIONS[request.candidate.precision].is_weight_only:
        from edgekit.backends.openvino.quantize import compress_weights

        return compress_weights(request.variant.onnx_path, bits), ()
    return read_onnx(request.variant.onnx_path), ()


def _options(target: Target, candidate: Candidate, plan: QuantPlan | None) -> dict[str, str]:
    """Device properties that belong to the artifact: device, and precision of its float arithmetic."""
    device = _device(target)
    if device != "CPU":
        return {"DEVICE": device}
    if plan is not None and plan.float_as:
        return {"INFERENCE_PRECISION_HINT": HINTS[plan.float_as]}
    runtime = target.runtime(NAME)
    arithmetic = (
        runtime.runs_as.get(candidate.precision, candidate.precision) if runtime else candidate.precision
    )
    return {"INFERENCE_PRECISION_HINT": HINTS[arithmetic]}


def _sparse_options(request: ExportRequest) -> dict[str, str]:
    """Where its kernels unpack sparse weights, of INT8 linear layers on a CPU with AMX: from which share of zeros on
    they do so (CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE; 1, never, by default)."""
    import onnx

    from edgekit.graph.zeros import count_zeros

    kernels = RUNTIMES[NAME].sparse
    assert kernels is not None
    fits = kernels.feature in request.features and _device(request.target) == "CPU"
    if not fits or request.candidate.precision not in kernels.precisions:
        return {}
    zeros, weights = count_zeros(onnx.load(request.variant.onnx_path))
    if zeros < LEAST_ZEROS * weights:
        return {}
    return {"CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE": str(LEAST_ZEROS)}


def _device(target: Target) -> str:
    runtime = target.runtime(NAME)
    return runtime.device if runtime else "CPU"


def _slower(device: str) -> str:
    return " only" if device == "NPU" else " faster"


def _unsupported(onnx_path: str, device: str) -> tuple[Issue, ...]:
    """Operators that the device's plugin does not take; nothing is known where the device is not here."""
    from edgekit.backends.openvino.ir import first_line, read_onnx

    try:
        model = read_onnx(onnx_path)
    except StageError as problem:
        return (Issue("error", "", f"OpenVINO cannot read the network: {problem.cause}", problem.remedy),)
    import openvino as ov

    core = ov.Core()
    if device not in {name.split(".")[0] for name in core.available_devices}:
        return (
            Issue("warning", "", f"no {device} here to ask which operators it takes", "lint on the board"),
        )
    try:
        supported = core.query_model(model, device)
    except RuntimeError as problem:
        return (Issue("error", "", f"{device} refuses the network: {first_line(problem)}"),)
    return tuple(
        Issue(
            "error",
            node.get_friendly_name(),
            f"{device} has no {node.get_type_name()}",
            "replace the operator",
        )
        for node in model.get_ordered_ops()
        if node.get_friendly_name() not in supported and node.get_type_name() not in ("Constant", "Result")
    )


def _entry(artifact: Artifact) -> Path:
    return Path(artifact.folder) / artifact.entry
