"""A user's ONNX file as edgekit works with it: checked, batch 1, simplified, of an opset that quantizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError, StageError
from edgekit.graph.equivalence import REPEATED, difference, onnx_runner, probe_inputs, run_onnx
from edgekit.graph.opset import in_opset
from edgekit.graph.proto import (
    check,
    opset_of,
    read_model,
    simplify,
    weight_with_nan,
    write_model,
)
from edgekit.graph.signature import signature_of
from edgekit.graph.sizes import fix_sizes
from edgekit.quiet import quiet
from edgekit.types import InputShape, Signature

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["import_onnx"]

# Per-channel QuantizeLinear and DequantizeLinear came with opset 13.
LOWEST_OPSET = 13
HIGHEST_OPSET = 21
"""What the oldest ONNX Runtime and OpenVINO of the targets read."""


def import_onnx(source: str | Path, destination: str | Path, shapes: Sequence[InputShape] = ()) -> Signature:
    """Bring a user's ONNX file into edgekit's form and write it to `destination`.

    The file must pass onnx.checker with shape inference, its weights hold no NaN, and it answers one input in one
    way. A dynamic batch becomes 1, other dynamic sizes what `shapes` says; opsets below 13 are converted up and those
    above 21 down where that can be; constants and batch normalization are folded. Every rewriting step is kept only if
    ONNX Runtime gives the same outputs on a random input. Raises ModelError with one line.
    """
    path = Path(source)
    model = read_model(path)
    if not signature_of(model).inputs:
        raise ModelError(f"{path.name} takes no inputs")
    fix_sizes(model, path.name, shapes)
    _give_outputs_ranks(model, path.name)
    check(model, path.name)
    broken = weight_with_nan(model)
    if broken:
        raise ModelError(
            f"{path.name} cannot be used: {broken} holds NaN", remedy="train and export it again"
        )
    signature = signature_of(model)
    probe = probe_inputs(signature.inputs)
    run = onnx_runner(model, path.name)
    expected = run(probe)
    reason = difference(expected, run(probe), tolerance=REPEATED)
    if reason:
        raise ModelError(
            f"{path.name} is random: it answers one input in two ways ({reason})",
            remedy="export it in eval mode, and give random numbers as an input",
        )
    for step in (_upgraded, _lowered, simplify):
        # Either may fail on unusual graphs; what came in is still a valid network.
        changed = step(model)
        if changed is not model and _same(changed, probe, expected):
            model = changed
    check(model, path.name)
    write_model(model, Path(destination))
    return signature_of(model)


def _give_outputs_ranks(model: onnx.ModelProto, name: str) -> None:
    """Outputs whose shape the file does not tell get their rank, without which the checker refuses them; in place.

    Their sizes stay open here: they may depend on the values.
    """
    ports = model.graph.output
    if all(port.type.tensor_type.HasField("shape") for port in ports):
        return
    arrays = run_onnx(model, probe_inputs(signature_of(model).inputs), name)
    for port, array in zip(ports, arrays, strict=True):
        shape = port.type.tensor_type.shape
        if not port.type.tensor_type.HasField("shape"):
            shape.SetInParent()
            for _axis in array.shape:
                shape.dim.add()


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


def _lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    if opset_of(model) <= HIGHEST_OPSET:
        return model
    try:
        return in_opset(onnx.shape_inference.infer_shapes(model, data_prop=True), HIGHEST_OPSET)
    except (StageError, onnx.shape_inference.InferenceError):
        return model  # the backends say what they miss
