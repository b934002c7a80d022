"""The tensors of a .tflite file, as LiteRT computes them with XNNPACK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.backends.tensors import Grid, Node, TensorFacts, Weights, choose_taps, kind_of, weights_facts
from edgekit.board.sessions.litert import LiteRtSession
from edgekit.errors import MissingExtraError, ModelError, in_one_line
from edgekit.quiet import quiet, quiet_descriptor
from edgekit.types import Artifact, Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LiteRtTensors"]

FUSED = {1: "relu", 2: "relu", 3: "relu", 4: "tanh"}
"""ActivationFunctionType of the schema → kind of the activation that an operation ends with."""

CHANNEL_AXIS = {"conv": 0, "dense": 0, "deconv": 0}
OPTION_CLASSES = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
}


class LiteRtTensors:
    """See `edgekit.backends.tensors.Reader`. Images are as the file has them, channels last.

    XNNPACK stays on: with all tensors preserved it runs operation by operation and leaves each one's output.
    """

    def __init__(self, artifact: Artifact, threads: int = 1) -> None:
        path = Path(artifact.folder) / artifact.entry
        self._plain = _open(path, num_threads=threads)
        self._shown = _open(path, num_threads=threads, experimental_preserve_all_tensors=True)
        self._session = LiteRtSession(str(path), dict(artifact.options), threads)
        details = {detail["index"]: detail for detail in self._shown.get_tensor_details()}
        self._inputs = _named(self._plain.get_input_details(), artifact.options.get("inputs"))
        self._outputs = _named(self._plain.get_output_details(), artifact.options.get("outputs"))
        self.signature = Signature(tuple(map(_spec, self._inputs)), tuple(map(_spec, self._outputs)))
        self.input_grids = {detail["name"]: grid for detail in self._inputs if (grid := _grid(detail))}
        operations = _operations(path)
        outputs = {str(detail["index"]): detail["name"] for detail in self._outputs}
        self._taps = choose_taps(_nodes(self._shown, operations, self._inputs, details), outputs)
        self._details = {tap.source: details[int(tap.source)] for tap in self._taps}
        self.tensors: tuple[TensorFacts, ...] = tuple(tap.facts for tap in self._taps)
        quantized = any(tap.facts.grid for tap in self._taps)
        self.arithmetic: Literal["fp32", "fp16", "bf16", "int8"] = "int8" if quantized else "fp32"
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> LiteRtTensors:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()
        del self._plain, self._shown

    def look(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        self._feed(self._shown, feeds)
        self._shown.invoke()
        return {
            tap.facts.name: _real(self._shown.get_tensor(int(tap.source)), self._details[tap.source])
            for tap in self._taps
        }

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        self._feed(self._plain, feeds)
        self._plain.invoke()
        return {
            detail["name"]: _real(self._plain.get_tensor(detail["index"]), detail) for detail in self._outputs
        }

    def runner_feeds(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Real values with channels first, where the session takes them so: it puts them back exactly."""
        taken: dict[str, NDArray[np.generic]] = {}
        for detail, port in zip(self._inputs, self._session.inputs, strict=True):
            value: NDArray[np.generic] = np.asarray(feeds[detail["name"]])
            if port["stored"] is not None:
                steps = value.astype(np.float32) - np.float32(port["zero"])
                value = steps * np.float32(port["scale"])
            value = np.moveaxis(value, -1, 1) if port["last"] else value
            taken[port["spec"]["name"]] = np.ascontiguousarray(value.astype(port["spec"]["dtype"]))
        return taken

    def runner_outputs(self, outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Channels last again, as the file has them."""
        given = {}
        for detail, port in zip(self._outputs, self._session.outputs, strict=True):
            value = np.asarray(outputs[port["spec"]["name"]], np.float32)
            given[detail["name"]] = np.moveaxis(value, 1, -1) if port["last"] else value
        return given

    def write_shown(self, folder: Path) -> str | None:
        """None: LiteRT shows tensors by an option of its interpreter, not by a file."""
        return None

    def runner_look(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.float32]]:
        raise NotImplementedError("write_shown writes no file")

    def _feed(self, interpreter: Any, feeds: Mapping[str, NDArray[np.generic]]) -> None:
        for detail in self._inputs:
            interpreter.set_tensor(
                detail["index"], np.ascontiguousarray(feeds[detail["name"]], detail["dtype"])
            )


@dataclass(frozen=True)
class _Operation:
    op: str
    fused: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _open(path: Path, **options: Any) -> Any:
    """An interpreter with its tensors allocated. Raises ModelError for a file that LiteRT refuses."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as problem:
        raise MissingExtraError("ai-edge-litert", "tflite") from problem
    try:
        with quiet(), quiet_descriptor(2):  # of the memory that preserved tensors take, and of the delegate
            interpreter = Interpreter(model_path=str(path), **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as problem:
        raise ModelError(f"{path.name} cannot be opened: LiteRT: {in_one_line(problem)}") from problem
    return interpreter


def _named(details: list[dict[str, Any]], said: str | None) -> list[dict[str, Any]]:
    """Ports of the file under the network's names, where the artifact's options carry those."""
    known = json.loads(said) if said else [{} for _ in details]
    return [
        {**detail, "name": facts.get("name", detail["name"]), "said": facts.get("dtype", "")}
        for detail, facts in zip(details, known, strict=True)
    ]


def _operations(path: Path) -> tuple[_Operation, ...]:
    """Operations of the main graph in order, from the flatbuffer that the interpreter has verified."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    codes = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    operations = []
    for place in range(graph.OperatorsLength()):
        operation = graph.Operators(place)
        code = model.OperatorCodes(operation.OpcodeIndex())
        op = codes.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        fused = 0
        if op in OPTION_CLASSES and operation.BuiltinOptions() is not None:
            options = getattr(schema, OPTION_CLASSES[op])()
            table = operation.BuiltinOptions()
            options.Init(table.Bytes, table.Pos)
            fused = options.FusedActivationFunction()
        inputs = tuple(int(operation.Inputs(i)) for i in range(operation.InputsLength()))
        outputs = tuple(int(operation.Outputs(i)) for i in range(operation.OutputsLength()))
        operations.append(_Operation(op, FUSED.get(fused, ""), inputs, outputs))
    return tuple(operations)


def _nodes(
    interpreter: Any, operations: tuple[_Operation, ...], inputs: list[Any], details: Mapping[int, Any]
) -> list[Node]:
    """Operations that depend on the inputs; tensor ids are LiteRT's indices."""
    nodes = [
        Node(detail["name"], "input", (), str(detail["index"]), "input", (detail["name"],), _grid(detail))
        for detail in inputs
    ]
    data = {detail["index"] for detail in inputs}
    for operation in operations:
        fed = tuple(str(index) for index in operation.inputs if index in data)
        if not fed:
            continue
        for index in operation.outputs:
            data.add(index)
            nodes.append(_node(interpreter, operation, fed, index, details, data))
    return nodes


def _node(
    interpreter: Any,
    operation: _Operation,
    fed: tuple[str, ...],
    index: int,
    details: Mapping[int, Any],
    made: Set[int],
) -> Node:
    """One output of one operation; `made` are the tensors that depend on the inputs."""
    detail = details[index]
    name, grid, kind = str(detail["name"]), _grid(detail), kind_of(operation.op)
    role: Literal["compute", "quantize", "dequantize", "hidden"] = "compute"
    if operation.op in ("QUANTIZE", "DEQUANTIZE"):
        role = "quantize" if operation.op == "QUANTIZE" else "dequantize"
    elif grid is None and np.dtype(detail["dtype"]).kind != "f":
        role = "hidden"
    weights = _weights(interpreter, operation, kind, details, made) if role == "compute" else None
    return Node(name, operation.fused or kind, fed, str(index), role, (name,), grid, weights)


def _weights(
    interpreter: Any, operation: _Operation, kind: str, details: Mapping[int, Any], made: Set[int]
) -> Weights | None:
    """Facts of a layer's constant weights. Float networks may hold them as int8 too (dynamic range)."""
    if kind not in CHANNEL_AXIS or len(operation.inputs) < 2:
        return None
    index = operation.inputs[1]  # also of a transposed convolution, whose first input is a shape
    detail = details.get(index)
    if detail is None or index in made:
        return None
    values = interpreter.get_tensor(index)
    axis = 3 if operation.op == "DEPTHWISE_CONV_2D" else CHANNEL_AXIS[kind]
    scales = detail["quantization_parameters"]["scales"]
    if not len(scales):
        return weights_facts(values, axis)
    grid: Literal["per-tensor", "per-channel"] = "per-channel" if len(scales) > 1 else "per-tensor"
    return weights_facts(_real(values, detail), axis, step=float(scales.max()), grid=grid)


def _real(values: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[np.float32]:
    """Integers as the real values that they stand for; a copy."""
    parameters = detail["quantization_parameters"]
    scales, zeros = parameters["scales"], parameters["zero_points"]
    if not len(scales) or values.dtype.kind == "f":
        return np.array(values, np.float32)
    shape = [1] * values.ndim
    if len(scales) > 1:
        shape[parameters["quantized_dimension"]] = -1
    shifted = values.astype(np.float32) - zeros.astype(np.float32).reshape(shape)
    return np.asarray(shifted * scales.reshape(shape), np.float32)


def _grid(detail: Mapping[str, Any]) -> Grid | None:
    """The grid of a tensor of integers with one scale; None for others."""
    scales = detail["quantization_parameters"]["scales"]
    kind = np.dtype(detail["dtype"])
    if len(scales) != 1 or kind.kind not in "iu":
        return None
    step, zero, ends = (
        float(scales[0]),
        float(detail["quantization_parameters"]["zero_points"][0]),
        np.iinfo(kind),
    )
    return Grid((ends.min - zero) * step, (ends.max - zero) * step, step)


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    """Name, type and shape; a free dimension is None."""
    shape = tuple(None if size < 0 else int(size) for size in detail["shape_signature"])
    return TensorSpec(str(detail["name"]), detail["said"] or np.dtype(detail["dtype"]).name, shape)
