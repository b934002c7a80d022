"""ONNX protobufs: reading with clear errors, simplifying, writing equal bytes for equal graphs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import MissingExtraError, ModelError, OutputError
from edgekit.files import write_atomically
from edgekit.quiet import quiet

if TYPE_CHECKING:
    import onnx

__all__ = [
    "check",
    "external_files",
    "first_line",
    "opset_of",
    "read_model",
    "simplify",
    "weight_with_nan",
    "write_model",
]

KEPT_APART = ["fuse_attention"]
"""Passes of onnxsim that are left out: one operator of ONNX Runtime's own, which other runtimes do not know, nor do our
rewrites, our quantizers and the tables of layers."""


def first_line(problem: BaseException) -> str:
    """The first line of an exception's text that says something, or the exception's name."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(problem).__name__


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators; 0 where the file names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold its values: of initializers, of nodes' attributes, of functions.

    Raises ModelError, also for a file that lies elsewhere.
    """
    model = read_model(path, external=False)  # first: it tells a missing onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    names = {ExternalDataInfo(tensor).location for tensor in _tensors(model) if uses_external_data(tensor)}
    for name in sorted(names):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(
                f"{path.name} keeps its values in {name!r}, outside of its folder",
                remedy="put the file beside it, and save the model again",
            )
    return tuple(path.parent / name for name in sorted(names))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model that may lie in another file."""
    graphs = list(_graphs(model.graph))
    nodes = [node for function in model.functions for node in function.node]
    for node in nodes:
        for inner in _subgraphs(node):
            graphs += _graphs(inner)
    nodes += [node for graph in graphs for node in graph.node]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def read_model(path: Path, *, external: bool = True) -> onnx.ModelProto:
    """The model, with its external data unless told otherwise. Raises ModelError for what is no ONNX file."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as problem:
        raise MissingExtraError("onnx", "onnxruntime") from problem
    if not path.is_file():
        raise ModelError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        model = onnx.load(str(path), load_external_data=external)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as problem:
        raise ModelError(f"{path} is not a readable ONNX file: {first_line(problem)}") from problem
    if not model.graph.node:
        raise ModelError(f"{path} is not a readable ONNX file: it holds no graph")
    return model


def check(model: onnx.ModelProto, name: str) -> None:
    """onnx.checker with shape inference. Raises ModelError with the checker's first line."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        RuntimeError,
    ) as problem:
        raise ModelError(
            f"{name} fails the ONNX checker: {first_line(problem)}", remedy="export the model again"
        ) from problem


def weight_with_nan(model: onnx.ModelProto) -> str:
    """The name of a weight [more than one value] that holds NaN, which no trained network has; or nothing.

    A single NaN may be a constant that a mask is filled with.
    """
    import numpy as np
    import onnx

    kinds = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE
    weights = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    for tensor in weights:
        large = tensor.data_type in kinds and np.prod(tensor.dims) > 1
        if large and np.isnan(onnx.numpy_helper.to_array(tensor)).any():
            return str(tensor.name)
    return ""


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded, batch normalization folded into convolutions, shapes inferred; or the model itself
    where the simplifier gives up."""
    try:
        import onnx

        with _torch_hidden():
            import onnxsim
    except ModuleNotFoundError as problem:
        raise MissingExtraError("onnxsim", "onnxruntime") from problem
    try:
        with quiet():
            simplified, same = onnxsim.simplify(model, skipped_optimizers=KEPT_APART)
            if not same:
                simplified = model
    except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        simplified = model  # callers verify and check what they get
    return _tidy(simplified)


@contextlib.contextmanager
def _torch_hidden() -> Iterator[None]:
    """onnxsim's import takes torch for a bridge that it then finds missing: two seconds in every process that reads."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own way to say that there is none
    try:
        yield
    finally:
        del sys.modules["torch"]


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants as initializers, every node named, shapes inferred, no trace of the machine that made it."""
    import onnx

    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    named: set[str] = set()
    for index, node in enumerate(kept):
        if not node.name or node.name in named:
            node.name = f"{node.op_type}_{index}"
        named.add(node.name)
    copied = [onnx.NodeProto.FromString(node.SerializeToString(deterministic=True)) for node in kept]
    del graph.node[:]
    graph.node.extend(copied)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [port for port in graph.input if port.name not in weights]
    if len(inputs) != len(graph.input):
        del graph.input[:]
        graph.input.extend(inputs)
    _strip(model)
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return model


def _strip(model: onnx.ModelProto) -> None:
    """Remove producers, doc strings and metadata: torch puts stack traces with the user's paths there."""
    for field in ("producer_name", "producer_version", "doc_string", "domain", "metadata_props"):
        model.ClearField(field)
    model.ClearField("model_version")
    for graph in _graphs(model.graph):
        graph.name = "network"
        for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
        for node in graph.node:
            for attribute in node.attribute:
                attribute.ClearField("doc_string")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for subgraph in _subgraphs(node):
            yield from _graphs(subgraph)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write atomically, in protobuf's deterministic form. Raises OutputError."""
    from google.protobuf.message import EncodeError

    try:
        write_atomically(path, model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as problem:
        raise ModelError(f"the network does not fit into one ONNX file: {first_line(problem)}") from problem
    except OSError as problem:
        raise OutputError(f"{path} cannot be written: {problem.strerror}") from problem
