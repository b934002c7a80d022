"""What LiteRT says of a network that is to become INT8; the plan is made in `edgekit.quantize.planning`.

XNNPACK and LiteRT's own kernels take int8 activations with any zero point and int8 weights, symmetric and per
channel, whatever the CPU (LiteRT 8-bit quantization specification): a target's rule for uint8 is for other runtimes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.backends.litert.flatbuffer import Op, read_flatbuffer, read_ops
from edgekit.backends.litert.interpreter import open_all
from edgekit.errors import MissingExtraError, StageError
from edgekit.graph.layers import weighted_layers
from edgekit.quantize import Range, Scheme, make_observer
from edgekit.quantize.apart import mixed_scales
from edgekit.quantize.measured import MeasuredNetwork
from edgekit.quantize.observers.ranges import SMALLEST_WIDTH
from edgekit.quantize.plan import Part, followed
from edgekit.quantize.planning import Refusal, Settled, named_by_recipe, refused_keys, unique_layers
from edgekit.quantize.trained import OBSERVED
from edgekit.quiet import quiet
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.backends.litert.convert import Port
    from edgekit.graph import CalibrationData
    from edgekit.quantize import Recipe

__all__ = ["LiteRtPlanner", "computed_tensors", "integers_of", "kept_in_file"]

WIDER = 1.5
"""By how much a range may grow to have zero in its middle: less than a bit."""

MOVES = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
JOINS = frozenset({"CONCATENATION", "PACK"})
PADS = frozenset({"PAD", "PADV2"})
"""TFLite's names of operations that only move values, of those that put tensors side by side, and of paddings."""


@dataclass(frozen=True)
class LiteRtPlanner:
    """See `edgekit.quantize.planning.Planner`. `onnx_path` is the variant's, `path` the float .tflite made of it, with
    its `inputs`."""

    onnx_path: Path
    path: Path
    inputs: Sequence[Port]
    versions: Mapping[str, str]

    @property
    def runtime(self) -> str:
        return "LiteRT"

    def refused(self, recipe: Recipe) -> Mapping[str, Refusal]:
        return refused_keys(recipe, int8_io=True)

    def depends_on(self) -> Mapping[str, object]:
        return {"versions": self.versions}

    def integers(self, recipe: Recipe) -> Scheme:
        return integers_of(recipe)

    def network(self, folder: Path) -> Path:
        return self.onnx_path

    def in_float(self, measured: MeasuredNetwork, recipe: Recipe) -> tuple[FloatLayer, ...]:
        model = measured.model
        kept = named_by_recipe(recipe, model)
        tensors, in_file = computed_tensors(model), self._computed()
        lost = [layer.name for layer in kept if tensors[layer.name] not in in_file]
        if lost:
            raise StageError(
                "quantize",
                f'recipe "{recipe.name}": keep_float_ops names {", ".join(lost)}, for which the file of LiteRT has no '
                "operation of its own",
                "leave that operation out",
            )
        apart = mixed_scales(measured, recipe)
        return unique_layers(*kept, *(layer for layer in apart if tensors[layer.name] in in_file))

    def cannot_keep(self, model: onnx.ModelProto) -> frozenset[str]:
        in_file = self._computed()
        return frozenset(node for node, tensor in computed_tensors(model).items() if tensor not in in_file)

    def settle(self, measured: MeasuredNetwork, recipe: Recipe, in_float: tuple[FloatLayer, ...]) -> Settled:
        """Ranges of the file's own tensors: its converter merges, splits and pads what the ONNX network has."""
        from edgekit.files import sha256_file

        settings = {
            "file": sha256_file(self.path),
            "observer": observer_of(recipe),
            "percentile": recipe.percentile if recipe.observer == "percentile" else 0.0,
            "samples": min(recipe.samples, measured.data.samples),
            "versions of LiteRT": self.versions,
        }
        ranges = measured.recall(
            "ranges",
            settings,
            lambda: collect(self.path, measured.data, recipe, self.inputs, measured.threads),
            dict[str, Range],
        )
        if recipe.observer == "trained":
            ranges = {**ranges, **measured.trained(ranges)}
        flat = [name for name, kept in ranges.items() if kept.high - kept.low < SMALLEST_WIDTH]
        notes = []
        if flat:
            named = ", ".join(flat[:6]) + (f" and {len(flat) - 6} more" if len(flat) > 6 else "")
            notes.append(
                f"Calibration never varied {len(flat)} tensors ({named}): their ranges were widened to hold zero and "
                "never be empty."
            )
        tensors = computed_tensors(measured.model)
        ops = read_ops(read_flatbuffer(self.path))
        floats = kept_in_file(ops, [tensors[layer.name] for layer in in_float])
        integers = [op for op in ops if op.name not in floats]
        settled, groups = followed(ranges, _same_scale(integers))
        if recipe.observer != "trained":  # whose weights know their grids
            settled = with_symmetric_factors(settled, groups, integers)
        return Settled(settled, groups, tuple(notes))

    def leaves(self, recipe: Recipe) -> tuple[Part, ...]:
        return ()

    def _computed(self) -> frozenset[str]:
        return frozenset(op.name for op in read_ops(read_flatbuffer(self.path)))


def integers_of(recipe: Recipe) -> Scheme:
    """LiteRT's own, with the recipe's granularity."""
    return Scheme("int8", 8, recipe.granularity == "per-channel")


def computed_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """ONNX node → the tensor by which the operation that computes it is found in the .tflite: its result, behind an
    activation that is fused into it."""
    outputs = {node.name: node.output[0] for node in model.graph.node if node.output}
    return {**outputs, **{layer.name: layer.result for layer in weighted_layers(model)}}


def kept_in_file(ops: Sequence[Op], tensors: Sequence[str]) -> tuple[str, ...]:
    """By which tensors the operations of the file are found that stay float, where these ONNX results do.

    The converter may give a Concat a result of its own and move that into the one of the ONNX network: then the Concat
    is what has to stay float, and all between. Before a layer that stays float a padding that it alone reads does, too:
    the converter puts one there where TFLite has no name for the layer's own.
    """
    makers = {output.name: op for op in ops for output in op.outputs}
    kept, open_names = dict.fromkeys(tensors), list(tensors)
    while open_names:
        op = makers.get(open_names.pop())
        if op is None or op.kind not in MOVES:
            continue
        for tensor in op.inputs:
            before = makers.get(tensor.name)
            if before is not None and before.kind in MOVES | JOINS and before.name not in kept:
                kept[before.name] = None
                open_names.append(before.name)
    for op in ops:
        readers = [reader for reader in ops if op.name in {tensor.name for tensor in reader.inputs}]
        if op.kind in PADS and readers and all(reader.name in kept for reader in readers):
            kept[op.name] = None
    return tuple(kept)


def collect(
    path: Path, data: CalibrationData, recipe: Recipe, inputs: Sequence[Port], threads: int = 1
) -> dict[str, Range]:
    """Tensor name → range of every float tensor that the .tflite at `path` computes; one pass, one sample at a time.

    What a maximum over an image is padded with, minus infinity, is no value of it: on the input's scale it is the least
    integer, which never is a maximum. Raises StageError when a tensor holds NaN or infinity, or there are no samples.
    """
    padded = {op.name for op in read_ops(read_flatbuffer(path)) if op.kind == "PADV2"}
    with open_all(path, threads) as network:
        tensors = network.interpreter.get_tensor_details()
        names = {int(tensor["index"]): str(tensor["name"]) for tensor in tensors}
        observers = {
            index: make_observer(observer_of(recipe), recipe.percentile) for index in network.tensors
        }
        for arrays in data.chunks(1, recipe.samples):
            feeds = [
                np.moveaxis(array, 1, -1) if port.channels_last else array
                for array, port in zip(arrays, inputs, strict=True)
            ]
            for index, value in network.look(feeds).items():
                try:
                    observers[index].observe(value[value > -np.inf] if names[index] in padded else value)
                except ValueError as error:
                    raise StageError(
                        "calibrate",
                        f'tensor "{names[index]}" holds {error}',
                        "check the model and its data",
                    ) from error
    try:
        return {names[index]: watcher.range() for index, watcher in observers.items()}
    except ValueError as error:
        raise StageError("calibrate", f"{error}", "give calibration samples") from error


def observer_of(recipe: Recipe) -> str:
    """What observes the tensors of the file."""
    return OBSERVED if recipe.observer == "trained" else recipe.observer


def with_symmetric_factors(
    ranges: Mapping[str, Range], groups: Sequence[Sequence[str]], ops: Sequence[Op]
) -> dict[str, Range]:
    """Ranges with zero in the middle for what a product of two activations has on its right, and for all on its scale.

    XNNPACK multiplies int8 only where that one's zero point is 0, and LiteRT's own kernel took 6 to 21 times as long on
    attention of 64 tokens (ai-edge-litert 2.3, x86 with AVX512). A range that would grow by more than WIDER stays.
    """
    group_of = {name: group for group in groups for name in group}
    settled = dict(ranges)
    for op in ops:
        if op.kind != "BATCH_MATMUL" or len(op.inputs) < 2 or op.inputs[1].constant:
            continue
        right = op.inputs[1].name
        if right not in settled:
            continue
        now = settled[right].with_zero()
        step = max(now.high / 127, -now.low / 128)
        if 255 * step <= WIDER * (now.high - now.low):
            settled.update(dict.fromkeys(group_of.get(right, (right,)), Range(-128 * step, 127 * step)))
    return settled


def _same_scale(ops: Sequence[Op]) -> Iterator[tuple[str, str]]:
    """Tensor and tensor that takes its scale, by AI Edge Quantizer's own lists of such operations."""
    try:
        from ai_edge_quantizer.algorithms.utils.common_utils import OpQuantConstraint
        from ai_edge_quantizer.utils.constrained_ops_utils import get_constrained_op_list
    except ModuleNotFoundError as error:
        raise MissingExtraError("ai-edge-quantizer", "tflite") from error
    with quiet():
        as_input, as_output = (
            {getattr(name, "value", name) for name in get_constrained_op_list(constraint)}
            for constraint in (OpQuantConstraint.SAME_AS_INPUT_SCALE, OpQuantConstraint.SAME_AS_OUTPUT_SCALE)
        )
    for op in ops:
        data = [tensor.name for tensor in op.inputs if not tensor.constant and tensor.dtype == "float32"]
        if op.kind in as_input and data:
            yield from ((data[0], output.name) for output in op.outputs)
        elif op.kind in as_output:
            yield from ((op.name, name) for name in data)
