"""A user's ONNX file as edgekit works with it: checked, batch 1, simplified, of an opset that quantizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.graph.equivalence import REPEATED, difference, onnx_runner, probe_inputs, run_onnx
from edgekit.graph.proto import (
    check,
    opset_of,
    read_model,
    set_static_batch,
    simplify,
    weight_with_nan,
    write_model,
)
from edgekit.graph.signature import signature_of
from edgekit.quiet import quiet
from edgekit.types import Signature

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["import_onnx"]

# Per-channel QuantizeLinear and DequantizeLinear came with opset 13.
LOWEST_OPSET = 13


def import_onnx(source: str | Path, destination: str | Path) -> Signature:
    """Bring a user's ONNX file into edgekit's form and write it to `destination`.

    The file must pass onnx.checker with shape inference, its weights hold no NaN, and it answers one input in one
    way. A dynamic batch becomes 1; opsets below 13 are converted up where ONNX can; constants and batch normalization
    are folded. Every rewriting step is kept only if ONNX Runtime gives the same outputs on a random input. Raises
    ModelError with one line.
    """
    path = Path(source)
    model = read_model(path)
    check(model, path.name)
    broken = weight_with_nan(model)
    if broken:
        raise ModelError(
            f"{path.name} cannot be used: {broken} holds NaN", remedy="train and export it again"
        )
    set_static_batch(model, path.name)
    signature = signature_of(model)
    if not signature.inputs:
        raise ModelError(f"{path.name} takes no inputs")
    probe = probe_inputs(signature.inputs)
    run = onnx_runner(model, path.name)
    expected = run(probe)
    reason = difference(expected, run(probe), tolerance=REPEATED)
    if reason:
        raise ModelError(
            f"{path.name} is random: it answers one input in two ways ({reason})",
            remedy="export it in eval mode, and give random numbers as an input",
        )
    for step in (_upgraded, simplify):
        # Either may fail on unusual graphs; what came in is still a valid network.
        changed = step(model)
        if changed is not model and _same(changed, probe, expected):
            model = changed
    check(model, path.name)
    write_model(model, Path(destination))
    return signature_of(model)


def _same(model: onnx.ModelProto, probe: Arrays, expected: Arrays) -> bool:
    try:
        return not difference(expected, run_onnx(model, probe))
    except ModelError:
        return False


def _upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    opset = opset_of(model)
    if not opset or opset >= LOWEST_OPSET:
        return model
    try:
        with quiet():
            changed = onnx.version_converter.convert_version(model, LOWEST_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError):
        return model  # the backends say what they miss
    changed.ir_version = max(changed.ir_version, 7)  # the IR version that came with opset 13's predecessors
    return changed
