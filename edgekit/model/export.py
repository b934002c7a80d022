"""A torch network as ONNX: static batch 1, simplified, checked, and verified to compute the same."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError, ModelError
from edgekit.graph.proto import check, first_line, simplify, write_model
from edgekit.graph.signature import signature_of
from edgekit.graph.sizes import shapes_by_name
from edgekit.model.fidelity import DIFFERS, unfaithful
from edgekit.model.forward import Arrays, flat, refuse_unrepeatable, run_torch
from edgekit.model.probes import made_up, single_samples
from edgekit.model.state import not_finite
from edgekit.model.tokens import forward_names
from edgekit.quiet import quiet, quiet_descriptor
from edgekit.types import InputShape, Signature, TensorSpec

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["check_example", "export_onnx", "names_of_inputs"]

# The lowest opset torch's newer exporter writes (2.13); it cannot convert ReduceMean and Pad down from there.
DYNAMO_OPSET = 18

PLACES = 3  # lines of the user's code that one message names


def export_onnx(
    module: torch.nn.Module,
    example: Arrays,
    path: str | Path,
    *,
    opset: int = 17,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Signature:
    """Write `module` as ONNX for one sample.

    `example`: one array [N, ...] per input; the first sample is what is traced. Names default to those of
    `names_of_inputs`, and `output`, or `output_0`, `output_1`, ... torch's tracing exporter goes first: it writes the
    opset asked for and takes a tenth of the time; where it fails or its result computes something else, the one based
    on torch.export is tried, which writes opset 18 at least. Batch normalization is folded, equal networks give equal
    bytes, and no path or time is in the file. What is written is compared with torch on every sample of
    `example`, each by itself, and on made-up ones (`edgekit.model.probes`).
    Raises ModelError when the network's weights are not finite, when it does not run on the example, when it answers
    one sample in two ways, or when neither exporter does it justice.
    """
    try:
        import onnx
        import torch
    except ModuleNotFoundError as problem:
        raise MissingExtraError(problem.name or "torch", "torch") from problem
    _refuse_not_finite(module)
    samples = single_samples(example)
    others = made_up(samples[0])
    network = flat(module, samples[0])
    refuse_unrepeatable(network, samples[0], others[0] if others else samples[-1])
    inputs = list(input_names or names_of_inputs(module, len(example)))
    outputs = list(output_names or _names("output", len(run_torch(network, samples[0]))))
    reasons = []
    baked_in: tuple[str, ...] = ()
    for exporter in (_trace, _dynamo):
        try:
            model, places = exporter(network, samples[0], opset, inputs, outputs)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as problem:
            # torch.onnx raises any of these; OnnxExporterError is a RuntimeError.
            reasons.append(f"cannot be written as ONNX: {_cause(problem)}")
            continue
        except (
            NotImplementedError,
            torch.onnx.errors.OnnxExporterError,
            onnx.checker.ValidationError,
        ) as problem:
            reasons.append(f"cannot be written as ONNX: {_cause(problem)}")
            continue
        model = simplify(model)
        reason = unfaithful(model, network, samples, others)
        if not reason:
            check(model, "the exported network")
            write_model(model, Path(path))
            return signature_of(model)
        reasons.append(reason)
        baked_in = baked_in or places
    raise _refusal(reasons, baked_in)


def _refusal(reasons: Sequence[str], places: Sequence[str]) -> ModelError:
    """What the two exporters made of a network; `places`: where the tracer saw a value become one of Python's."""
    if not reasons[0].startswith(DIFFERS):
        return ModelError(
            f"the network {reasons[0]}; torch.export: {reasons[1]}",
            remedy="see whether torch.onnx.export takes it",
        )
    decides = f"decides by values of its input at {', '.join(places)}" if places else "may decide by values"
    return ModelError(
        f"{reasons[0]}: forward() {decides}, and an export fixes what it decided for the first sample"
        f"; torch.export: {reasons[1]}",
        remedy="decide with tensors (masks, torch.where) instead of if, int(), .item() and slices by values",
    )


def _refuse_not_finite(module: torch.nn.Module) -> None:
    """Such a network has no accuracy to keep, and runtimes that optimize it may never end."""
    reason = not_finite(module)
    if reason:
        raise ModelError(
            f"the network cannot be used: {reason}", remedy="train it again, at a lower learning rate"
        )


def names_of_inputs(module: torch.nn.Module | None, count: int) -> list[str]:
    """What a torch network's inputs are called in ONNX: `input`; several as forward() calls them, else by number.

    None: a program of torch.export, whose forward() takes any number.
    """
    names = forward_names(module)[0][:count] if module is not None else ()
    if 1 < count == len(names) and not any(name.startswith("output") for name in names):
        return list(names)
    return _names("input", count)


def check_example(given: Sequence[InputShape], example: Arrays, names: Sequence[str]) -> None:
    """A torch network is exported for the shape of its samples [N, ...]: another one that was given is a mistake.

    `names`: of the inputs, in order. Raises ModelError for it, and what `shapes_by_name` raises.
    """
    specs = [TensorSpec(name, str(array.dtype), ()) for name, array in zip(names, example, strict=True)]
    for name, dims in shapes_by_name(given, specs).items():
        own = (1, *example[names.index(name)].shape[1:])
        if dims != own:
            said, samples = InputShape(name, dims), InputShape(name, own)
            raise ModelError(
                f"--input-shape {said.text()}, but a sample of the data is {samples.text()}",
                remedy="leave the option out: a torch network takes the shape of the samples",
            )


def _names(stem: str, count: int) -> list[str]:
    return [stem] if count == 1 else [f"{stem}_{index}" for index in range(count)]


def _cause(problem: BaseException) -> str:
    """The innermost cause: torch wraps errors in long advice."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return f"{type(problem).__name__}: {first_line(problem)}"


def _trace(
    network: torch.nn.Module, inputs: Arrays, opset: int, input_names: list[str], output_names: list[str]
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The network, and the lines (`net.py:12`) where the tracer saw a tensor become a value of Python's."""
    import onnx
    import torch
    from torch.jit._trace import TracerWarning

    fastpath = torch.backends.mha.get_fastpath_enabled()
    # TransformerEncoderLayer's fused operator has no ONNX form.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            quiet(),
            quiet_descriptor(),
            torch.no_grad(),
            warnings.catch_warnings(record=True) as told,
        ):
            warnings.simplefilter("always", TracerWarning)
            path = str(Path(folder) / "network.onnx")
            torch.onnx.export(
                network,
                tuple(torch.from_numpy(array.copy()) for array in inputs),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=input_names,
                output_names=output_names,
            )
            lines = (
                f"{Path(warning.filename).name}:{warning.lineno}"
                for warning in told
                if _becomes_python(warning)
            )
            return onnx.load(path), tuple(dict.fromkeys(lines))[:PLACES]
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def _becomes_python(warning: warnings.WarningMessage) -> bool:
    return "Converting a tensor" in str(warning.message)


def _dynamo(
    network: torch.nn.Module, inputs: Arrays, opset: int, input_names: list[str], output_names: list[str]
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    import torch

    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            tuple(torch.from_numpy(array.copy()) for array in inputs),
            dynamo=True,
            opset_version=max(opset, DYNAMO_OPSET),
            input_names=input_names,
            output_names=output_names,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    return program.model_proto, ()
