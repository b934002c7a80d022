"""LiteRT (TFLite): float32, float16 weights, dynamic-range int8 and full-integer int8, run by XNNPACK."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.artifact import installed_versions, written_artifact
from edgekit.backends.repaired import on_repaired
from edgekit.errors import MissingExtraError, ModelError, StageError, in_one_line
from edgekit.types import Artifact, BackendName, Examination, Issue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.backends.base import ExportRequest, Session
    from edgekit.backends.litert.convert import Conversion, Port
    from edgekit.hardware import Target
    from edgekit.quantize import QuantPlan, Scheme
    from edgekit.types import Audit, LayerPart, LayerRow, LayerTime, Variant

__all__ = ["LiteRtBackend"]

NAME: BackendName = "litert"
ENTRY = "model.tflite"
PACKAGES = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch", "onnx", "onnxruntime")
PRECISIONS = ("fp32", "fp16", "int8-dynamic", "int8")


def _integers(request: ExportRequest) -> Scheme:
    """Those that an INT8 request is quantized to."""
    from edgekit.backends.litert.plan import integers_of

    assert request.recipe is not None
    return integers_of(request.recipe)


class LiteRtBackend:
    """See `edgekit.backends.base.Backend`. The artifact is `model.tflite`; its options describe its ports.

    Images and signals are stored with channels last; sessions take and give them as the network does, [N, C, H, W] and
    [N, C, L].
    """

    @property
    def name(self) -> BackendName:
        return NAME

    @property
    def extra(self) -> str:
        return "tflite"

    def versions(self) -> dict[str, str]:
        """Of all that converting, quantizing and running need. Raises MissingExtraError."""
        return installed_versions(self.extra, PACKAGES)

    def lint(self, variant: Variant, target: Target) -> Examination:
        """Nodes that cannot be carried over, by name; where there are none, what converting the network says."""
        from edgekit.backends.litert.convert import convert
        from edgekit.graph.to_torch.module import unsupported

        try:
            issues = unsupported(variant.onnx_path)
        except ModelError as error:
            issues = (Issue("error", "", str(error), "export the network with static shapes"),)
        if issues:
            return Examination(issues, "the table of what can be converted")
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            try:
                converted = convert(Path(variant.onnx_path), Path(folder) / ENTRY)
            except StageError as error:
                issues = (Issue("error", "", error.cause, error.remedy),)
            else:
                issues = _told(converted)
        return Examination(issues, "a conversion of it")

    @on_repaired(_integers)
    def plan(self, request: ExportRequest) -> QuantPlan:
        """Tensors are named as in the float .tflite. Raises StageError when that cannot be made, too."""
        from edgekit.backends.litert.convert import convert

        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            path = Path(folder) / ENTRY
            converted = convert(Path(request.variant.onnx_path), path, request.calibration)
            return self._plan(request, path, converted.inputs)

    def _plan(self, request: ExportRequest, path: Path, inputs: Sequence[Port]) -> QuantPlan:
        """The plan for the float .tflite at `path`."""
        from edgekit.backends.litert.plan import LiteRtPlanner
        from edgekit.quantize import make_plan

        network = Path(request.variant.onnx_path)
        return make_plan(
            LiteRtPlanner(network, path, inputs, self.versions()),
            network,
            request.recipe,
            request.calibration,
            memo=request.memo,
            threads=request.threads,
            times=request.times,
        )

    @on_repaired(_integers)
    def export(self, request: ExportRequest) -> Artifact:
        """Write model.tflite. Raises StageError when it cannot be made or its layout gate does not hold."""
        from edgekit.backends.litert.convert import convert

        precision = request.candidate.precision
        if precision not in PRECISIONS:
            raise StageError(
                "export", f"LiteRT has no {precision} candidate", f"it has {', '.join(PRECISIONS)}"
            )
        versions = self.versions()
        started = time.perf_counter()
        path = request.folder / ENTRY
        converted = convert(Path(request.variant.onnx_path), path, request.calibration)
        plan = self._plan(request, path, converted.inputs) if precision == "int8" else None
        notes = _quantize(request, path, plan)
        options = {"inputs": described(converted.inputs), "outputs": described(converted.outputs)}
        built = written_artifact(
            request, NAME, (ENTRY,), versions=versions, started=started, options=options, plan=plan
        )
        audit = self.audit(built, request.threads)
        return replace(built, audit=replace(audit, notes=(*notes, *audit.notes)))

    def open(self, artifact: Artifact, threads: int = 1) -> Session:
        """Load the artifact in this process. Raises StageError when LiteRT refuses the file."""
        from edgekit.board.sessions.opening import open_session

        path = Path(artifact.folder) / artifact.entry
        try:
            session: Session = open_session(NAME, str(path), dict(artifact.options), threads)
        except ModuleNotFoundError as error:
            raise MissingExtraError("ai-edge-litert", self.extra) from error
        except (ValueError, RuntimeError) as error:
            raise StageError(
                "open", f"LiteRT refuses {artifact.entry}: {in_one_line(error)}", "export it again"
            ) from error
        return session

    def on_host(self, artifact: Artifact) -> Artifact:
        """The artifact itself: LiteRT runs the same file here."""
        return artifact

    def audit(self, artifact: Artifact, threads: int = 1) -> Audit:
        """The precision of each operation, from the file, and what XNNPACK takes, from the interpreter."""
        from edgekit.backends.litert.audit import audit

        return audit(Path(artifact.folder) / artifact.entry, threads)

    def layer_parts(
        self, artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]], folder: Path
    ) -> tuple[LayerPart, ...]:
        """One per operation: LiteRT has no profiler in Python."""
        from edgekit.backends.litert.profile import layer_parts

        return layer_parts(self, artifact, feeds, folder)

    def read_layers(self, artifact: Artifact, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
        """Operations, in the file's order."""
        from edgekit.backends.litert.profile import read_layers

        return read_layers(Path(artifact.folder) / artifact.entry, rows)


def _told(converted: Conversion) -> tuple[Issue, ...]:
    """What a network's own layout operations cost, which forbids nothing."""
    if not converted.layout_ops:
        return ()
    reason = f"layout operations of the network's own: {converted.layout_ops} in the .tflite, each moves a whole tensor"
    return (Issue("warning", "", reason, "none is needed to build; fewer transposes would run faster"),)


def _quantize(request: ExportRequest, path: Path, plan: QuantPlan | None) -> tuple[str, ...]:
    """The float file at `path` in the candidate's precision, in place; gives notes for the report."""
    from edgekit.backends.litert.quantize import quantize_dynamic, quantize_full, store_half
    from edgekit.backends.litert.sparse import store_sparse

    if plan is not None:
        return quantize_full(plan, Path(request.variant.onnx_path), path)
    if request.candidate.precision == "int8-dynamic":
        return quantize_dynamic(path)
    if request.candidate.precision == "fp16":
        store_half(path)
        return ("Weights are stored in float16 and brought back to float32 when the file is loaded.",)
    return store_sparse(path)


def described(ports: Sequence[Port]) -> str:
    """Ports as the runner's session reads them."""
    return json.dumps([asdict(port) for port in ports])
