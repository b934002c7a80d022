"""ONNX → OpenVINO's intermediate representation, with bytes that depend on the network alone."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.errors import MissingExtraError, StageError

__all__ = ["WEIGHTED", "first_line", "product_of", "quiet_nncf", "read_onnx", "write_model"]

WEIGHTED = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)


def read_onnx(path: str | Path) -> Any:
    """An ONNX file as an `openvino.Model` with folded constants; tensor names are those of the file.

    Bias correction needs the folding: NNCF recognizes a bias only as a constant, and the frontend leaves it
    behind shape arithmetic. `openvino.convert_model` does the same but reports usage to its makers.
    Raises StageError when OpenVINO cannot read the file.
    """
    try:
        import openvino as ov
        from openvino._offline_transformations import apply_moc_transformations
    except ModuleNotFoundError as problem:
        raise MissingExtraError("openvino", "openvino") from problem
    try:
        model = ov.Core().read_model(str(path))
        apply_moc_transformations(model, False)
    except RuntimeError as problem:
        raise StageError("convert", first_line(problem), "OpenVINO may lack an operator") from problem
    return model


def tidy(model: Any) -> None:
    """Take out what differs between equal runs: paths and tools in the metadata, and counters in names.

    OpenVINO numbers the nodes it makes itself by a counter of the process ("Reshape_366"); such nodes are
    numbered here by their place in the graph.
    """
    for key in list(model.rt_info):
        del model.rt_info[key]
    for position, node in enumerate(model.get_ordered_ops()):
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind == "Constant" or (name.startswith(f"{kind}_") and name[len(kind) + 1 :].isdigit()):
            node.set_friendly_name(f"{kind}_at_{position}")


def write_model(model: Any, path: Path, *, fp16_weights: bool = False) -> None:
    """Write `path` (.xml) and its .bin. Raises StageError when the disk refuses."""
    import openvino as ov

    tidy(model)
    try:
        ov.save_model(model, str(path), compress_to_fp16=fp16_weights)
    except RuntimeError as problem:
        raise StageError("export", f"{path.name} cannot be written: {first_line(problem)}") from problem


def product_of(node: Any) -> Any:
    """The convolution or matrix product under an addition of its bias; any other node itself."""
    if node.get_type_name() == "Add":
        before, bias = (node.input_value(port).get_node() for port in (0, 1))
        if before.get_type_name() in WEIGHTED and bias.get_type_name() == "Constant":
            return before
    return node


def first_line(problem: BaseException) -> str:
    """OpenVINO's message without the C++ source positions above it, on one line.

    Of a failed conversion only the cause is kept, which comes last.
    """
    lines = [line.strip() for line in str(problem).splitlines()]
    missing = [line.lstrip("- ") for line in lines if line.startswith("-- No conversion rule")]
    if missing:
        return missing[0]
    kept = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    return " ".join(kept)[:300] or type(problem).__name__


@contextmanager
def quiet_nncf() -> Iterator[Any]:
    """The nncf module, without its log, its progress bars (on rich's global console) and its usage reports.

    Raises MissingExtraError without nncf.
    """
    import rich

    known = "nncf" in sys.modules
    before = os.environ.get("NNCF_CI")
    # nncf/telemetry/wrapper.py reads this once, when it is imported.
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf
    except ModuleNotFoundError as problem:
        raise MissingExtraError(problem.name or "nncf", "openvino") from problem
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
    logger = logging.getLogger("nncf")
    level = logger.level if known else logging.WARNING
    console = rich.get_console()
    was_quiet = console.quiet
    logger.setLevel(logging.ERROR)
    console.quiet = True
    try:
        yield nncf
    finally:
        console.quiet = was_quiet
        logger.setLevel(level)
