"""The tensors of an OpenVINO model, as its device computes them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.backends.openvino.ir import WEIGHTED, first_line
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
from edgekit.board.sessions.openvino import OpenVinoSession, told
from edgekit.errors import MissingExtraError, ModelError
from edgekit.types import Artifact, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OpenVinoTensors"]

LAYERS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
"""With weights, as the compiled model calls them."""

PLUMBING = frozenset({"Constant", "Result", "ShapeOf"})
ARITHMETIC: Mapping[str, Literal["fp32", "fp16", "bf16", "int8"]] = {
    "float32": "fp32",
    "f32": "fp32",
    "float16": "fp16",
    "f16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
}


class OpenVinoTensors:
    """See `edgekit.backends.tensors.Reader`. Quantized tensors are shown behind their FakeQuantize."""

    input_grids: Mapping[str, Grid] = {}

    def __init__(self, artifact: Artifact, threads: int = 1) -> None:
        import msgspec

        path = Path(artifact.folder) / artifact.entry
        try:
            import openvino as ov
        except ModuleNotFoundError as problem:
            raise MissingExtraError("openvino", "openvino") from problem
        try:
            self._plain = OpenVinoSession(str(path), dict(artifact.options), threads)
            model = ov.Core().read_model(str(path))
        except RuntimeError as problem:
            raise ModelError(f"{artifact.entry} cannot be opened: {first_line(problem)}") from problem
        self.signature: Signature = msgspec.convert(self._plain.signature, Signature)
        ports: dict[str, Any] = {}
        inputs = [spec.name for spec in self.signature.inputs]
        nodes = _nodes(model, inputs, ports)
        results = {_key(port.get_node().input_value(0)): spec.name
                   for port, spec in zip(model.outputs, self.signature.outputs, strict=True)}  # fmt: skip
        passed = _in_passing(self._plain.raw)
        taps = [_as_fused(tap, passed) for tap in choose_taps(nodes, results)]
        fed = {node.output for node in nodes if node.role == "input"}
        self._fed = tuple(tap for tap in taps if tap.source in fed)
        self._taps = tuple(tap for tap in taps if tap.source not in fed)
        self.tensors: tuple[TensorFacts, ...] = tuple(tap.facts for tap in taps)
        quantized = any(node.role == "quantize" for node in nodes)
        hint = ARITHMETIC.get(self._plain.facts.get("INFERENCE_PRECISION_HINT", ""), "fp32")
        self.arithmetic: Literal["fp32", "fp16", "bf16", "int8"] = "int8" if quantized else hint
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            shown = Path(folder) / "shown.xml"
            added = [tap.source for tap in self._taps if tap.source not in results]
            model.add_outputs([ports[source] for source in added])
            self._places = {source: place for place, source in enumerate([*results, *added])}
            ov.save_model(model, str(shown), compress_to_fp16=False)
            self._with_outputs = model
            self._session = OpenVinoSession(str(shown), dict(artifact.options), threads)
        integers = _notes(artifact.entry, self._plain.raw, self._session.raw) if quantized else ()
        self.notes: tuple[str, ...] = (*_float_note(artifact.entry, hint), *integers)

    def __enter__(self) -> OpenVinoTensors:
        return self

    def __exit__(self, *exc: object) -> None:
        self._plain.close()
        self._session.close()

    def look(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        arrays = [np.ascontiguousarray(feeds[spec.name], dtype=spec.dtype) for spec in self.signature.inputs]
        results = self._session.request.infer(dict(enumerate(arrays)))
        return self._look(feeds, [results[place] for place in range(len(self._places))])

    def _look(
        self, feeds: Mapping[str, NDArray[np.generic]], results: Sequence[Any]
    ) -> dict[str, NDArray[np.float32]]:
        shown = {tap.facts.name: np.asarray(feeds[tap.source], np.float32) for tap in self._fed}
        for tap in self._taps:
            shown[tap.facts.name] = np.array(results[self._places[tap.source]], np.float32)
        return shown

    def runner_look(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.float32]]:
        """By place: what `add_outputs` has made is named as the session names it."""
        specs = self._session.signature["outputs"]
        return self._look(feeds, [outputs[spec["name"]] for spec in specs])

    def write_shown(self, folder: Path) -> str | None:
        """None where two of the tensors would go by one name."""
        import openvino as ov

        names = [spec["name"] for spec in self._session.signature["outputs"]]
        if len(set(names)) < len(names):
            return None
        ov.save_model(self._with_outputs, str(folder / "shown.xml"), compress_to_fp16=False)
        return "shown.xml"

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        return self.runner_outputs(self._plain.run(dict(feeds)))

    def runner_feeds(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        return dict(feeds)

    def runner_outputs(self, outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        return {name: np.asarray(array, np.float32) for name, array in outputs.items()}


def _key(port: Any) -> str:
    """An id of an output port that is unique in its model."""
    return f"{port.get_node().get_friendly_name()}:{port.get_index()}"


def _nodes(model: Any, inputs: list[str], ports: dict[str, Any]) -> list[Node]:
    """Operations that depend on the inputs; `ports` is filled with their output ports by id."""
    ids: dict[str, str] = {}
    nodes = []
    for parameter, name in zip(model.get_parameters(), inputs, strict=True):
        port = parameter.output(0)
        ids[_key(port)] = name
        nodes.append(Node(name, "input", (), name, "input", (name, *sorted(port.get_names()))))
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in PLUMBING or kind == "Parameter":
            continue
        sources = [_key(port) for port in node.input_values()]
        data = tuple(ids[source] for source in sources if source in ids)
        if not data:
            continue
        for port in node.outputs():
            key = _key(port)
            ids[key], ports[key] = key, port
            nodes.append(_node(node, kind, data, key, port))
    if any(node.names for node in nodes if node.role == "compute"):
        nodes = [_without_helpers(node) for node in nodes]
    return nodes


def _without_helpers(node: Node) -> Node:
    """Where tensors have names, one without is no tensor of the network's but a step of OpenVINO's own."""
    return replace(node, role="hidden") if node.role == "compute" and not node.names else node


def _node(node: Any, kind: str, data: tuple[str, ...], key: str, port: Any) -> Node:
    """One output of one operation."""
    names = tuple(sorted(port.get_names(), key=lambda name: (len(name), name)))
    layer = node.get_friendly_name()
    if kind == "FakeQuantize":
        return Node(layer, "fakequantize", data, key, "quantize", names, _grid(node))
    product = _product_under(node)
    if product is not None:  # an addition of a bias: one layer with the product before it
        bias_of = kind_of(product.get_type_name())
        return Node(layer, bias_of, data, key, "compute", names)
    if kind in WEIGHTED:
        targets = [target.get_node() for target in port.get_target_inputs()]
        followed = [target for target in targets if target.get_type_name() not in PLUMBING]
        with_bias = len(followed) == 1 and _product_under(followed[0]) is not None
        role: Literal["hidden", "compute"] = "hidden" if with_bias else "compute"
        return Node(layer, kind_of(kind), data, key, role, names, weights=_weights(node, kind))
    real = port.get_element_type().is_real()
    return Node(layer, kind_of(kind), data, key, "compute" if real else "hidden", names)


def _product_under(node: Any) -> Any:
    """The convolution or matrix product that an addition adds a constant bias to; None for other operations."""
    if node.get_type_name() != "Add":
        return None
    first, second = (port.get_node() for port in node.input_values())
    for product, bias in ((first, second), (second, first)):
        if product.get_type_name() in WEIGHTED and _is_constant(bias):
            return product
    return None


def _is_constant(node: Any) -> bool:
    """Whether a value depends on constants and shapes alone: not every IR has them folded into one constant."""
    inputs = node.input_values()
    return node.get_type_name() in ("Constant", "ShapeOf") or (
        bool(inputs) and all(_is_constant(port.get_node()) for port in inputs)
    )


def _grid(node: Any) -> Grid | None:
    """The levels of a FakeQuantize with constant ends."""
    ends = [node.input_value(place).get_node() for place in (3, 4)]
    if any(end.get_type_name() != "Constant" for end in ends):
        return None
    low, high = (np.asarray(end.data, np.float64) for end in ends)
    step = float((high - low).max()) / max(1, node.get_attributes()["levels"] - 1)
    by_channel = low.size > 1 and low.shape == high.shape and low.ndim > 1 and low.shape[1] == low.size
    channels = tuple(zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)) if by_channel else ()
    return Grid(float(low.min()), float(high.max()), step, channels)


def _weights(node: Any, kind: str) -> Weights | None:
    """Facts of a layer's constant weights, dequantized by OpenVINO's own folding."""
    constant = _constant(node.input_value(1))
    if constant is None:
        return None
    values, step, grid = constant
    if kind == "MatMul":
        axis = -2 if node.get_attributes().get("transpose_b") else -1
    elif kind.startswith("Group"):  # [groups, outputs of a group, …]
        values, axis = values.reshape(-1, *values.shape[2:]), 0
        if kind == "GroupConvolutionBackpropData":
            return None
    else:
        axis = 1 if kind == "ConvolutionBackpropData" else 0
    return weights_facts(values, axis, step=step, grid=grid)


def _constant(port: Any) -> tuple[NDArray[Any], float, Literal["", "per-tensor", "per-channel"]] | None:
    """The value of a port that depends on constants alone, and the scale of its quantization.

    QuantizedIr weights are Constant → Convert → (Subtract →) Multiply; compressed float ones Constant → Convert.
    """
    node = port.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return np.asarray(node.data, np.float64), 0.0, ""
    inputs = [_constant(source) for source in node.input_values()]
    if any(constant is None for constant in inputs):
        return None
    values = [constant[0] for constant in inputs if constant is not None]
    if kind == "Convert" and len(values) == 1:
        return values[0], 0.0, ""
    if kind == "Subtract":
        return values[0] - values[1], 0.0, ""
    if kind == "Multiply":
        grid: Literal["per-tensor", "per-channel"] = "per-channel" if values[1].size > 1 else "per-tensor"
        return values[0] * values[1], float(values[1].max()), grid
    if kind == "Reshape":
        return values[0].reshape(port.get_shape()), inputs[0][1] if inputs[0] else 0.0, ""
    return None


def _float_note(entry: str, arithmetic: str) -> tuple[str, ...]:
    """Without a hint OpenVINO takes bf16 where the CPU has it, also for float32 networks."""
    return (
        () if arithmetic == "fp32" else (f"{entry}: OpenVINO computes its float layers in {arithmetic} here",)
    )


def _in_passing(compiled: Any) -> frozenset[str]:
    """Quantizers that a layer with weights computes before something else that is fused with it: of a convolution's
    result in a residual sum, for one. OpenVINO 2026.4.1 then clips alone (seen: 99.8 % of a MobileNetV2-like network's
    predictions are those of a simulation that clips, 92.2 % of one that rounds)."""
    passed: set[str] = set()
    for node in compiled.get_runtime_model().get_ops():
        info = told(node.get_rt_info())
        if info.get("layerType") in LAYERS:
            passed.update(info.get("originalLayersNames", "").split(",")[:-1])
    return frozenset(passed)


def _as_fused(tap: Tap, passed: frozenset[str]) -> Tap:
    grid = tap.facts.grid
    if grid is None or tap.source.rsplit(":", 1)[0] not in passed:
        return tap
    return replace(tap, facts=replace(tap.facts, grid=replace(grid, rounds=False)))


def _notes(entry: str, alone: Any, shown: Any) -> tuple[str, ...]:
    """What showing tensors changes in the kernels that run."""
    before, after = _integer_layers(alone), _integer_layers(shown)
    if before == after:
        return ()
    return (
        f"{entry}: {before} layers run in integers, with its tensors shown {after}: the others are computed in "
        "float from quantized values, as simulated",
    )


def _integer_layers(compiled: Any) -> int:
    """Layers with weights whose kernel works on 8-bit integers."""
    count = 0
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "layerType" not in info or "primitiveType" not in info:
            continue
        kind, kernel = (str(info[key].astype(str)) for key in ("layerType", "primitiveType"))
        count += kind in LAYERS and kernel.lower().endswith(("_i8", "_u8"))
    return count
