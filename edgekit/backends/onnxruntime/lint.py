"""What ONNX Runtime cannot take, told before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.graph.proto import opset_of
from edgekit.types import Issue

if TYPE_CHECKING:
    from edgekit.hardware import Target

__all__ = ["LOWEST_OPSET", "lint"]

LOWEST_OPSET = 13
"""First opset whose DequantizeLinear has an axis, which per-channel weights need (ONNX operator changelog)."""

STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def lint(path: Path, target: Target) -> tuple[Issue, ...]:
    """Foreign operators, an opset above what the target's runtime reads, control flow that stays float."""
    from edgekit.graph.taps import load_graph

    model = load_graph(path)
    issues = [
        Issue(
            "error",
            node.name,
            f"operator {node.domain}.{node.op_type} is not part of ONNX Runtime",
            "replace it",
        )
        for node in model.graph.node
        if node.domain not in STANDARD
    ]
    opset = opset_of(model)
    highest = max(
        (r.opset_max for r in target.runtimes if r.name == "onnxruntime" and r.opset_max), default=0
    )
    if highest and opset > highest:
        reason = f"opset {opset} is above what the runtime on {target.name} reads ({highest})"
        issues.append(Issue("error", "", reason, f"export with opset {highest} or lower"))
    if opset < LOWEST_OPSET:
        reason = (
            f"opset {opset} has no per-channel Q/DQ; INT8 candidates are converted to opset {LOWEST_OPSET}"
        )
        issues.append(Issue("warning", "", reason, "export with opset 17"))
    for node in model.graph.node:
        if node.op_type in ("If", "Loop", "Scan"):
            issues.append(
                Issue("warning", node.name, f"what is inside {node.op_type} stays float", "export without it")
            )
    return tuple(issues)
