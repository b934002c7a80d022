"""A torch network as ONNX: static batch 1, simplified, checked, and verified to compute the same."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingExtraError, ModelError
from edgekit.graph.equivalence import difference, run_onnx
from edgekit.graph.proto import check, first_line, simplify, write_model
from edgekit.graph.signature import signature_of
from edgekit.graph.sizes import shapes_by_name
from edgekit.model.state import not_finite
from edgekit.quiet import quiet, quiet_descriptor
from edgekit.reference import UserCode
from edgekit.types import InputShape, Signature, TensorSpec

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray

__all__ = ["check_example", "default_input_names", "export_onnx"]

Arrays = tuple["NDArray[np.generic]", ...]

# The lowest opset torch's newer exporter writes (2.13); it cannot convert ReduceMean and Pad down from there.
DYNAMO_OPSET = 18


def export_onnx(
    module: torch.nn.Module,
    example: tuple[NDArray[np.generic], ...],
    path: str | Path,
    *,
    opset: int = 17,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Signature:
    """Write `module` as ONNX for one sample.

    `example`: one array [N, ...] per input; the first sample is used. Names default to `input` (or `input_0`,
    `input_1`, ...) and `output` likewise. torch's tracing exporter goes first: it writes the opset asked for
    and takes a tenth of the time; where it fails or its result computes something else, the one based on
    torch.export is tried, which writes opset 18 at least. Batch normalization is folded, equal networks give
    equal bytes, and no path or time is in the file. Outputs are compared with torch's on two inputs.
    Raises ModelError when the network's weights are not finite, when it does not run on the example, or when neither
    exporter does it justice.
    """
    try:
        import onnx
        import torch
    except ModuleNotFoundError as problem:
        raise MissingExtraError(problem.name or "torch", "torch") from problem
    _refuse_not_finite(module)
    probes = _probes(example)
    network = _flat(module, probes[0])
    expected = [_run_torch(network, probe) for probe in probes]
    inputs = list(input_names or default_input_names(len(example)))
    outputs = list(output_names or _names("output", len(expected[0])))
    reasons = []
    for exporter in (_trace, _dynamo):
        try:
            model = exporter(network, probes[0], opset, inputs, outputs)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as problem:
            # torch.onnx raises any of these; OnnxExporterError is a RuntimeError.
            reasons.append(_cause(problem))
            continue
        except (
            NotImplementedError,
            torch.onnx.errors.OnnxExporterError,
            onnx.checker.ValidationError,
        ) as problem:
            reasons.append(_cause(problem))
            continue
        model, reason = _best(model, probes, expected)
        if model is None:
            reasons.append(reason)
            continue
        check(model, "the exported network")
        write_model(model, Path(path))
        return signature_of(model)
    raise ModelError(
        f"the network cannot be written as ONNX: {reasons[0]}; torch.export: {reasons[1]}",
        remedy="see whether torch.onnx.export takes it",
    )


def _refuse_not_finite(module: torch.nn.Module) -> None:
    """Such a network has no accuracy to keep, and runtimes that optimize it may never end."""
    reason = not_finite(module)
    if reason:
        raise ModelError(
            f"the network cannot be used: {reason}", remedy="train it again, at a lower learning rate"
        )


def _best(
    model: onnx.ModelProto, probes: Sequence[Arrays], expected: Sequence[Arrays]
) -> tuple[onnx.ModelProto | None, str]:
    """The simplified model if it computes the same, else nothing and what differs."""
    model = simplify(model)
    for probe, wanted in zip(probes, expected, strict=True):
        try:
            reason = difference(wanted, run_onnx(model, probe))
        except ModelError as problem:
            reason = str(problem)
        if reason:
            return None, f"the exported network differs from torch's: {reason}"
    return model, ""


def default_input_names(count: int) -> list[str]:
    """What a torch network's inputs are called in ONNX."""
    return _names("input", count)


def check_example(given: Sequence[InputShape], example: Arrays) -> None:
    """A torch network is exported for the shape of its samples [N, ...]: another one that was given is a mistake.

    Raises ModelError for it, and what `shapes_by_name` raises.
    """
    names = default_input_names(len(example))
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


def _probes(example: Arrays) -> list[Arrays]:
    """The example's first sample, and another of its kind: it tells a branch baked in by tracing."""
    if not example or any(array.ndim == 0 or len(array) == 0 for array in example):
        raise ModelError("there is no sample to export the network with")
    first = tuple(np.ascontiguousarray(array[:1]) for array in example)
    generator = np.random.default_rng(0)
    second = []
    for array in first:
        if array.dtype.kind == "f":
            spread = float(array.std()) or 1.0
            second.append(
                (generator.standard_normal(array.shape) * spread - float(array.mean())).astype(array.dtype)
            )
        else:
            second.append(array)
    return [first, tuple(second)]


def _run_torch(network: torch.nn.Module, inputs: Arrays) -> Arrays:
    import torch

    outputs = _call(network, inputs)
    tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return tuple(tensor.detach().cpu().numpy() for tensor in tensors)


def _call(network: torch.nn.Module, inputs: Arrays) -> Any:
    import torch

    with UserCode("the network's forward()", ModelError), torch.no_grad(), quiet():
        return network(*(torch.from_numpy(array.copy()) for array in inputs))


def _flat(module: torch.nn.Module, inputs: Arrays) -> torch.nn.Module:
    """The network on the CPU, in eval mode, wrapped if it gives anything but one tensor or a flat tuple.

    The caller's module stays as it was: a copy is made where something has to change.
    """
    import torch
    from torch.utils import _pytree

    on_cpu = all(tensor.device.type == "cpu" for tensor in (*module.parameters(), *module.buffers()))
    if module.training or not on_cpu:
        module = copy.deepcopy(module).cpu().eval()
    if isinstance(_call(module, inputs), torch.Tensor):
        return module

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = module
            self.training = False

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            leaves = _pytree.tree_leaves(self.net(*inputs))
            tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
            if not tensors:
                raise TypeError("the network gives no tensor")
            return tensors

    return Flat()


def _trace(
    network: torch.nn.Module, inputs: Arrays, opset: int, input_names: list[str], output_names: list[str]
) -> onnx.ModelProto:
    import onnx
    import torch

    fastpath = torch.backends.mha.get_fastpath_enabled()
    # TransformerEncoderLayer's fused operator has no ONNX form.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with tempfile.TemporaryDirectory() as folder, quiet(), quiet_descriptor(), torch.no_grad():
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
            return onnx.load(path)
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def _dynamo(
    network: torch.nn.Module, inputs: Arrays, opset: int, input_names: list[str], output_names: list[str]
) -> onnx.ModelProto:
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
    return program.model_proto
