"""The tensors of an ONNX file, float or Q/DQ, as ONNX Runtime computes them."""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.onnxruntime.backend import OnnxRuntimeBackend
from edgekit.backends.tensors import (
    Grid,
    Node,
    Tap,
    TensorFacts,
    Weights,
    choose_taps,
    kind_of,
    weights_facts,
)
from edgekit.errors import ModelError, StageError
from edgekit.types import Artifact, Signature

if TYPE_CHECKING:
    import onnx

__all__ = ["OnnxTensors"]

SUFFIXES = ("_QuantizeLinear_Input", "_DequantizeLinear_Output", "_QuantizeLinear_Output")
"""What ONNX Runtime's quantizer adds to the float graph's names (onnxruntime/quantization/quant_utils.py)."""

CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
SHOWN = "shown.onnx"
NO_DATA = frozenset({"Shape", "Size", "Range", "ConstantOfShape", "NonZero"})


class OnnxTensors:
    """See `edgekit.backends.tensors.Reader`. Quantized tensors are read as the integers that the kernels give."""

    input_grids: Mapping[str, Grid] = {}

    def __init__(self, artifact: Artifact, threads: int = 1) -> None:
        path = Path(artifact.folder) / artifact.entry
        try:
            graph = _Graph(path)
            self._plain = _session(artifact, {}, threads)
        except StageError as error:
            raise ModelError(
                f"{artifact.entry} cannot be opened: {error.cause}", remedy=error.remedy
            ) from error
        self.signature: Signature = _signature(self._plain)
        self._model = graph.model
        taps = choose_taps(graph.nodes, {name: name for name in graph.outputs})
        self._fed = tuple(tap for tap in taps if tap.source in graph.inputs)
        self._taps = tuple(tap for tap in taps if tap.source not in graph.inputs)
        self._grids = {
            name: graph.grid(name) for name in (tap.source for tap in self._taps) if name in graph.grids
        }
        self.tensors: tuple[TensorFacts, ...] = tuple(tap.facts for tap in taps)
        self.arithmetic: Literal["fp32", "fp16", "bf16", "int8"] = "int8" if graph.grids else graph.float_kind
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            self._session, self.notes = _open_with_outputs(
                artifact, graph.model, self._taps, Path(folder), threads
            )

    def __enter__(self) -> OnnxTensors:
        return self

    def __exit__(self, *exc: object) -> None:
        self._plain.close()
        self._session.close()

    def look(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        names = [tap.source for tap in self._taps]
        arrays = self._session.raw.run(names, dict(feeds))
        return self.runner_look(feeds, dict(zip(names, arrays, strict=True)))

    def runner_look(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.float32]]:
        shown = {tap.facts.name: np.asarray(feeds[tap.source], np.float32) for tap in self._fed}
        for tap in self._taps:
            array = outputs[tap.source]
            if tap.source in self._grids:
                scale, zero = self._grids[tap.source]
                array = (array.astype(np.float32) - zero) * scale
            shown[tap.facts.name] = np.asarray(array, np.float32)
        return shown

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        return self.runner_outputs(self._plain.run(dict(feeds)))

    def runner_feeds(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        return dict(feeds)

    def runner_outputs(self, outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        return {name: np.asarray(array, np.float32) for name, array in outputs.items()}

    def write_shown(self, folder: Path) -> str | None:
        _write_with_outputs(self._model, self._taps, folder / SHOWN)
        return SHOWN


def _session(artifact: Artifact, options: Mapping[str, str], threads: int) -> Any:
    """The runner's session, with further options. Raises StageError."""
    return OnnxRuntimeBackend().open(replace(artifact, options={**artifact.options, **options}), threads)


def _signature(session: Any) -> Signature:
    import msgspec

    signature: Signature = msgspec.convert(session.signature, Signature)
    return signature


class _Graph:
    """An ONNX graph as nodes that depend on its inputs."""

    def __init__(self, path: Path) -> None:
        from onnx import TensorProto, numpy_helper

        from edgekit.graph.taps import load_graph

        self.model = load_graph(path)
        graph = self.model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        self._values: dict[str, NDArray[Any]] = {}
        self._to_array = numpy_helper.to_array
        self._makers = {name: node for node in graph.node for name in node.output}
        self.inputs = {info.name for info in graph.input if info.name not in self._constants}
        self.outputs = tuple(info.name for info in graph.output)
        infos = [*graph.input, *graph.value_info, *graph.output]
        kinds = {info.name: info.type.tensor_type.elem_type for info in infos}
        floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
        self._not_float = {name for name, kind in kinds.items() if kind and kind not in floats}
        half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer)
        self.float_kind: Literal["fp32", "fp16"] = "fp16" if half else "fp32"
        self.grids: dict[str, tuple[str, str]] = {}
        self._data, self._integers = set(self.inputs), set[str]()
        self._dequantized = {
            node.input[0]: node
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[1] in self._constants
        }
        self.nodes = [Node(name, "input", (), name, "input", (name,)) for name in self.inputs]
        for node in _in_order(graph.node, self.inputs | self._constants.keys()):
            self._add(node)

    def grid(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scale and zero point of a tensor of integers."""
        scale, zero = self.grids[name]
        return (
            np.asarray(self._value(scale), np.float32),
            np.asarray(self._value(zero) if zero else 0, np.float32),
        )

    def _value(self, name: str) -> NDArray[Any]:
        if name not in self._values:
            self._values[name] = np.asarray(self._to_array(self._constants[name]))
        return self._values[name]

    def _add(self, node: onnx.NodeProto) -> None:
        data = tuple(name for name in node.input if name in self._data)
        if not data or not node.output or node.op_type in NO_DATA:
            return
        self._data.update(name for name in node.output if name)
        for position, output in enumerate(node.output):
            if output:
                self.nodes.append(self._node(node, data, output, position))

    def _node(self, node: onnx.NodeProto, data: tuple[str, ...], output: str, position: int) -> Node:
        made = Node(node.name, kind_of(node.op_type), data, output, "compute", _names(output))
        if node.op_type == "QuantizeLinear" and node.input[1] in self._constants:
            self.grids[output] = (node.input[1], node.input[2] if len(node.input) > 2 else "")
            self._integers.add(output)
            return replace(made, role="quantize", grid=self._facts(output))
        if node.op_type == "DequantizeLinear":
            return replace(made, role="dequantize")
        if data[0] in self._integers:  # moves integers without going back to float
            self._integers.add(output)
            back = self._dequantized.get(output)
            if back is None:
                return replace(made, role="hidden")
            self.grids[output] = (back.input[1], back.input[2] if len(back.input) > 2 else "")
            return replace(made, grid=self._facts(output), names=(*_names(back.output[0]), output))
        if output in self._not_float or position > 0:
            return replace(made, role="hidden")
        return replace(made, weights=self._weights(node))

    def _facts(self, name: str) -> Grid:
        scale, zero = self.grids[name]
        step = float(self._value(scale).max())
        kind = self._value(zero).dtype if zero else np.dtype(np.uint8)
        ends = np.iinfo(kind) if kind.kind in "iu" else np.iinfo(np.int8)
        offset = float(self._value(zero).reshape(-1)[0]) if zero else 0.0
        return Grid((ends.min - offset) * step, (ends.max - offset) * step, step)

    def _weights(self, node: onnx.NodeProto) -> Weights | None:
        """Facts of the constant that a layer multiplies with, dequantized."""
        if node.op_type not in CHANNEL_AXIS or len(node.input) < 2:
            return None
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        axis = 0 if transposed else CHANNEL_AXIS[node.op_type]
        name = node.input[1]
        if name in self._constants:
            return weights_facts(self._value(name), axis)
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in self._constants:
            return None
        integers, scale = self._value(maker.input[0]), np.asarray(self._value(maker.input[1]), np.float64)
        zero = self._value(maker.input[2]) if len(maker.input) > 2 and maker.input[2] else np.zeros(1)
        along = (
            next((attribute.i for attribute in maker.attribute if attribute.name == "axis"), 1)
            if scale.ndim
            else 0
        )
        shape = [1] * integers.ndim
        if scale.size > 1:
            shape[along] = -1
        values = (integers.astype(np.float64) - zero.reshape(shape if zero.size > 1 else -1)) * scale.reshape(
            shape
        )
        kind: Literal["per-tensor", "per-channel"] = "per-channel" if scale.size > 1 else "per-tensor"
        return weights_facts(values, axis, step=float(scale.max()), grid=kind)


def _names(tensor: str) -> tuple[str, ...]:
    """A tensor's name in the float graph, and its own."""
    return tuple(sorted({tensor, *(tensor.removesuffix(end) for end in SUFFIXES)}, key=len))


def _in_order(nodes: Sequence[onnx.NodeProto], known: Set[str]) -> list[onnx.NodeProto]:
    """Nodes after what they read; ONNX Runtime's quantizer appends its pairs at the file's end."""
    missing = {i: {name for name in node.input if name and name not in known} for i, node in enumerate(nodes)}
    readers: dict[str, list[int]] = defaultdict(list)
    for place, names in missing.items():
        for name in names:
            readers[name].append(place)
    ready = [place for place, names in missing.items() if not names]
    heapq.heapify(ready)
    ordered = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        ordered.append(node)
        for name in node.output:
            for place in readers.pop(name, []):
                missing[place].discard(name)
                if not missing[place]:
                    heapq.heappush(ready, place)
    return ordered


def _open_with_outputs(
    artifact: Artifact, model: onnx.ModelProto, taps: tuple[Tap, ...], folder: Path, threads: int
) -> tuple[Any, tuple[str, ...]]:
    """A session that also gives the tapped tensors, and what showing them changes in the kernels that run."""
    _write_with_outputs(model, taps, folder / SHOWN)
    shown = replace(artifact, folder=str(folder), entry=SHOWN)
    written = folder / "optimized.onnx"
    options = {"optimized_model_filepath": str(written)}
    session = _session(shown, options, threads)
    with_taps = _integer_layers(written)
    _session(artifact, options, threads).close()
    alone = _integer_layers(written)
    if with_taps == alone:
        return session, ()
    return session, (
        f"{artifact.entry}: {alone} layers run in integers, with its tensors shown {with_taps}: the others are "
        "computed in float from quantized values, as simulated",
    )


def _write_with_outputs(model: onnx.ModelProto, taps: tuple[Tap, ...], path: Path) -> None:
    """The graph with the tapped tensors as outputs."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    infos = {info.name: info for info in [*model.graph.value_info, *model.graph.output]}
    present = {info.name for info in copy.graph.output}
    for tap in taps:
        if tap.source not in present:
            copy.graph.output.append(infos.get(tap.source, onnx.ValueInfoProto(name=tap.source)))
            present.add(tap.source)
    onnx.save(copy, str(path), save_as_external_data=copy.ByteSize() > 1 << 30)


def _integer_layers(path: Path) -> int:
    """Layers with weights that run in integers in a graph that ONNX Runtime optimized."""
    import onnx

    counts = Counter(node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node)
    return sum(
        counts[op] for op in ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "ConvInteger")
    )
