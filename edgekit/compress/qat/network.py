"""An ONNX network in torch whose weights and ranges can be trained while a runtime's integers are simulated.

Imports torch: loaded by functions only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgekit.compress.qat.bounds import ANY, bounds_of, widest
from edgekit.compress.qat.rounding import LEVELS, clipped, rounded, rounded_by_channel
from edgekit.compress.qat.weights import TrainedWeights
from edgekit.errors import StageError
from edgekit.graph.layers import weighted_layers
from edgekit.graph.to_torch.arithmetic import BINARY, UNARY
from edgekit.graph.to_torch.editing import constants_of, shapes_of
from edgekit.graph.to_torch.module import calls_of
from edgekit.quantize.observers.ranges import Range
from edgekit.quantize.placement import MOVES

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.graph.to_torch.node import Call
    from edgekit.quantize.placement import Placement

__all__ = ["QatNetwork"]

Tensor = torch.Tensor
Ends = tuple[Tensor, Tensor]

BY_SAMPLE = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "MaxPool",
})  # fmt: skip
"""Operations that treat each sample of a batch [N, ...] alone, whatever N is."""

ANYWHERE = frozenset({*UNARY, "Clip", "LeakyRelu", "HardSigmoid", "Gelu", "Elu", "Selu", "Celu"})
"""Operations that treat each value alone."""

CHANNELS = 2
"""Axis of a tensor's channels between operations."""

NARROWEST = 0.02
"""Of its first width a range cannot become narrower than this: it would turn round."""


class QatNetwork(torch.nn.Module):
    """The network of `model`, of batch 1, for batches of any size: float32 [N, ...] per input as the file has it.

    Every sample is computed as alone. Between operations a tensor is [N, 1, ...]: the batch, then the file's shape.
    Without a `placement` it is the float network. Batch norms are those of the file, folded or frozen. Raises
    StageError for what cannot be carried over to torch.
    """

    def __init__(self, model: onnx.ModelProto, placement: Placement | None = None) -> None:
        super().__init__()
        calls, nodes, refused = calls_of(model)
        if refused:
            node, reason = refused[0]
            raise StageError("qat", f"{node.name} cannot be trained: {reason}", "quantize without training")
        constants, shapes = constants_of(model), shapes_of(model)
        self.inputs = tuple(port.name for port in model.graph.input if port.name not in constants)
        self.outputs = tuple(port.name for port in model.graph.output)
        _check_batch(self.inputs, shapes)
        self.calls, self.nodes, self.shapes = calls, nodes, shapes
        self.weights = TrainedWeights(model, placement)
        self.stored: dict[tuple[int, int], str] = {}
        for index, call in enumerate(calls):
            for place, operand in enumerate(call.operands):
                if isinstance(operand, np.ndarray) and not self.weights.gives(nodes[index], place):
                    name = self.stored[index, place] = f"constant_{index}_{place}"
                    self.register_buffer(name, self.weights.stored(nodes[index], place, operand))
        for index, name in enumerate(self.outputs):
            if name in constants:
                self.register_buffer(f"output_{index}", torch.from_numpy(np.array(constants[name])))
        self.spans = _Spans(model, placement)
        self.last_use = _last_use(calls, self.outputs)

    def forward(self, *given: Tensor) -> Any:
        span = self.spans.settled()
        values = {
            name: self.spans.put(name, x.unsqueeze(1), span)
            for name, x in zip(self.inputs, given, strict=True)
        }
        for index, (call, node) in enumerate(zip(self.calls, self.nodes, strict=True)):
            result = self._step(index, call, node, values, span)
            several = isinstance(result, (tuple, list))
            for name, value in zip(node.output, result if several else [result], strict=False):
                values[name] = self.spans.put(name, value, span)
            for name in self.last_use.get(index, ()):
                values.pop(name, None)
        results = [
            self._output(index, name, values, len(given[0])) for index, name in enumerate(self.outputs)
        ]
        return results[0] if len(results) == 1 else tuple(results)

    def trained_weights(self) -> dict[str, NDArray[np.float32]]:
        """Initializer → its values now, on their grid where a layer is in integers."""
        with torch.no_grad():
            span = self.spans.settled()
            scales = {name: self.spans.scale(name, span) for name in self.spans.input_of}
        return self.weights.trained({name: scale for name, scale in scales.items() if scale is not None})

    def trained_ranges(self) -> dict[str, Range]:
        """Tensor → the range that its integers span now; of one with ranges by channel the one that spans them all."""
        return {name: _spanning(ranges) for name, ranges in self.spans.ranges().items()}

    def trained_by_channel(self) -> dict[str, tuple[Range, ...]]:
        """Tensor → the range of each of its channels, where they have their own."""
        return {name: ranges for name, ranges in self.spans.ranges().items() if len(ranges) > 1}

    def _output(self, index: int, name: str, values: Mapping[str, Tensor], count: int) -> Tensor:
        if name not in values:
            fixed: Tensor = getattr(self, f"output_{index}")
            return fixed.expand(count, *fixed.shape[1:])
        value = values[name]
        return value.flatten(0, 1) if value.ndim > 1 and value.shape[1] == 1 else value

    def _step(
        self, index: int, call: Call, node: onnx.NodeProto, values: Mapping[str, Tensor], span: Sequence[Ends]
    ) -> Any:
        """One node on [N, 1, ...]."""
        taken, fixed = [], []
        for place, operand in enumerate(call.operands):
            if isinstance(operand, str):
                taken.append(values[operand])
                fixed.append(False)
                continue
            key = self.stored.get((index, place))
            if key is None:
                taken.append(self.weights.operand(node, place, self.spans.scale(node.name, span)))
            else:
                taken.append(getattr(self, key))
            fixed.append(True)
        data = [value for value, is_fixed in zip(taken, fixed, strict=True) if not is_fixed]
        if not data:
            count = len(next(iter(values.values())))
            return _repeated(call.function(*taken), count)
        if node.op_type in BY_SAMPLE and len(data) == 1 and data[0].ndim > 2 and data[0].shape[1] == 1:
            flat = [
                value if is_fixed else value.flatten(0, 1)
                for value, is_fixed in zip(taken, fixed, strict=True)
            ]
            return call.function(*flat).unsqueeze(1)
        if node.op_type in ANYWHERE or _aligned(node.op_type, taken, fixed):
            return call.function(*taken)
        dims = tuple(None if is_fixed else 0 for is_fixed in fixed)
        return torch.vmap(call.function, in_dims=dims)(*taken)


class _Spans(torch.nn.Module):
    """The trained ranges: one for each group of tensors with one scale, or one for each channel of a tensor [channels];
    ends in units of their first width."""

    def __init__(self, model: onnx.ModelProto, placement: Placement | None) -> None:
        super().__init__()
        self.group_of: dict[str, int] = {}
        self.limits: list[tuple[float, float]] = []
        self.ends = torch.nn.ParameterList()
        self.input_of: dict[str, int] = {}
        self.clipped = frozenset(() if placement is None else placement.clipped)
        if placement is None:
            return
        bounds = bounds_of(model)
        for group in placement.groups():
            lowest, highest = widest([bounds.get(name, ANY) for name in group])
            channels = placement.by_channel.get(group[0], ())
            several = [
                _within(limits, lowest, highest) for limits in channels or (placement.ranges[group[0]],)
            ]
            lows, highs = (np.array(ends) for ends in zip(*several, strict=True))
            widths = highs - lows
            units = np.array([lows / widths, highs / widths], np.float32)
            if not channels:
                widths, units = widths[0], units[:, 0]
            index = len(self.limits)
            self.group_of.update(dict.fromkeys(group, index))
            self.limits.append((min(lowest, 0.0), max(highest, 0.0)))
            self.register_buffer(
                f"width_{index}", torch.tensor(widths, dtype=torch.float32), persistent=False
            )
            self.ends.append(torch.nn.Parameter(torch.from_numpy(units)))
        makers = {name: node for node in model.graph.node for name in node.output}
        nodes = {node.name: node for node in model.graph.node}
        for layer in weighted_layers(model):
            source = layer.input
            while source not in self.group_of and source in makers and makers[source].op_type in MOVES:
                source = makers[source].input[0]
            if source not in self.group_of or layer.name not in placement.layers:
                continue
            count = len(placement.by_channel.get(source, ()))
            if not count or (source == layer.input and _groups_of(nodes[layer.name]) == count):
                self.input_of[layer.name] = self.group_of[source]

    def scale(self, layer: str, span: Sequence[Ends]) -> Tensor | None:
        """Of the input of a layer in integers: one, or of each of its channels."""
        index = self.input_of.get(layer)
        return None if index is None else (span[index][1].detach() - span[index][0].detach()) / LEVELS

    def settled(self) -> list[Ends]:
        """Ends of each group: zero between them, within what its values can be; gradients go straight through."""
        return [self._ends(index) for index in range(len(self.limits))]

    def _ends(self, index: int) -> Ends:
        lowest, highest = self.limits[index]
        width: Tensor = getattr(self, f"width_{index}")
        ends = self.ends[index].float() * width
        low, high = ends[0], ends[1]
        low_kept = low.detach().clamp(lowest, 0.0)
        high_kept = high.detach().clamp(0.0, highest)
        high_kept = high_kept + (NARROWEST * width - (high_kept - low_kept)).clamp(min=0.0)
        fixed_low = low_kept if lowest == 0.0 else low + (low_kept - low).detach()
        return fixed_low, high + (high_kept - high).detach()

    def put(self, name: str, value: Tensor, span: Sequence[Ends]) -> Tensor:
        """The tensor on its grid, where it has one."""
        index = self.group_of.get(name)
        if index is None:
            return value
        low, high = span[index]
        if name in self.clipped:
            return clipped(value.float(), low, high)
        if low.ndim:
            return rounded_by_channel(value.float(), low, high, axis=CHANNELS)
        return rounded(value.float(), low, high)

    def ranges(self) -> dict[str, tuple[Range, ...]]:
        """Tensor → range, or that of each channel, moved so that its zero point is whole."""
        with torch.no_grad():
            ends = [torch.stack(pair).reshape(2, -1).T.tolist() for pair in self.settled()]
        return {name: tuple(_nudged(*pair) for pair in ends[index]) for name, index in self.group_of.items()}


def _within(given: Range, lowest: float, highest: float) -> tuple[float, float]:
    """Ends of a range with zero in it, and within what the values can be."""
    given = given.with_zero()
    low, high = min(max(given.low, lowest), 0.0), max(min(given.high, highest), 0.0)
    if high - low <= 0.0:  # values that are always zero
        return given.low, given.high
    return low, high


def _spanning(ranges: Sequence[Range]) -> Range:
    return Range(min(values.low for values in ranges), max(values.high for values in ranges))


def _groups_of(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _nudged(low: float, high: float) -> Range:
    from edgekit.quantize.observers.ranges import affine_parameters

    grid = affine_parameters(Range(low, high), 0, 255)
    return Range(-grid.zero_point * grid.scale, (255 - grid.zero_point) * grid.scale)


def _check_batch(inputs: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in inputs:
        shape = shapes.get(name, ())
        if not shape or shape[0] != 1:
            told = "x".join(map(str, shape)) or "no static shape"
            raise StageError(
                "qat",
                f"input {name} is {told}: only networks of batch 1 are trained",
                "quantize without training",
            )


def _last_use(calls: Sequence[Call], outputs: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Step → tensors that nothing reads after it."""
    last: dict[str, int] = {}
    for index, call in enumerate(calls):
        last.update((operand, index) for operand in call.operands if isinstance(operand, str))
    by_step: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in outputs:
            by_step.setdefault(index, []).append(name)
    return {index: tuple(names) for index, names in by_step.items()}


def _aligned(op: str, taken: Sequence[Tensor], fixed: Sequence[bool]) -> bool:
    """Whether arithmetic broadcasts in a batch as it does for one sample."""
    if op not in BINARY:
        return False
    ranks = {value.ndim for value, is_fixed in zip(taken, fixed, strict=True) if not is_fixed}
    rank = max(ranks)
    return len(ranks) == 1 and all(
        value.ndim < rank for value, is_fixed in zip(taken, fixed, strict=True) if is_fixed
    )


def _repeated(result: Any, count: int) -> Any:
    """What depends on no input, for each sample."""
    if isinstance(result, (tuple, list)):
        return [_repeated(value, count) for value in result]
    return result.expand(count, *result.shape)
