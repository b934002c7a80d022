"""What TensorRT on a target cannot take, told before any work: rules first, then TensorRT-RTX itself if installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.tensorrt.build_recipe import Toolkit, toolkit
from edgekit.backends.tensorrt.compile_check import compile_check
from edgekit.backends.tensorrt.operators import dla_fallbacks, operation_issues
from edgekit.backends.tensorrt.plan import prepared
from edgekit.errors import StageError
from edgekit.graph.proto import opset_of
from edgekit.types import Examination, Issue

if TYPE_CHECKING:
    import onnx

    from edgekit.hardware import Target

__all__ = ["examine", "prepared_or_issues"]


def examine(path: Path, target: Target) -> Examination:
    """Every issue of one float ONNX file of fixed sizes. Raises StageError when the file cannot be read."""
    from edgekit.graph.taps import load_graph

    model = load_graph(path)
    if target.runtime("tensorrt") is None:
        reason = f"{target.name} does not run TensorRT"
        return Examination(
            (Issue("error", "", reason, "choose a jetson or an rtx target"),), "nothing to check"
        )
    kit = toolkit(target)
    ready, issues = prepared_or_issues(path, kit)
    if ready is None:
        return Examination(issues, "rules only: the network cannot be written for this parser")
    have = opset_of(model)
    if have > kit.opset:
        reason = f"opset {have} is above what TensorRT {kit.versions} reads; it is written in opset {opset_of(ready)}"
        issues = (Issue("warning", "", reason, f"nothing, or export with opset {kit.opset}"), *issues)
    if target.has_dla():
        issues = (*issues, *_dla_issues(ready))
    if any(issue.severity == "error" for issue in issues):
        return Examination(issues, "rules only: what they refuse was not compiled")
    check = compile_check(ready, kit)
    said = tuple(
        Issue(
            "error" if check.binding else "warning",
            *_placed(problem),
            "see whether the node can be written otherwise",
        )
        for problem in check.problems
    )
    return Examination((*issues, *said), f"rules; {check.done}")


def prepared_or_issues(path: Path, kit: Toolkit) -> tuple[onnx.ModelProto | None, tuple[Issue, ...]]:
    """The graph as it is written for the board's parser, or nothing where that cannot be, and what the rules say.

    Lint and export ask this, so that they give one answer.
    """
    from edgekit.graph.taps import load_graph

    try:
        ready = prepared(path, kit)
    except StageError as error:
        issues = tuple(operation_issues(load_graph(path), kit.known))
        if not any(issue.severity == "error" for issue in issues):
            issues = (*issues, Issue("error", "", error.cause, error.remedy))
        return None, issues
    return ready, tuple(operation_issues(ready, kit.known))


def _placed(problem: str) -> tuple[str, str]:
    """(node, reason) of one of the parser's lines."""
    place, _, reason = problem.removeprefix("node ").partition(": ")
    return (place, reason) if reason and "node " in problem[:5] else ("", problem)


def _dla_issues(model: onnx.ModelProto) -> list[Issue]:
    """Only a warning: the GPU takes what the DLA does not."""
    fallen = dla_fallbacks(model)
    return [
        Issue(
            "warning",
            name,
            f"on the DLA this falls back to the GPU: {reason}",
            "use the GPU, or another operation",
        )
        for name, reason in fallen
    ]
