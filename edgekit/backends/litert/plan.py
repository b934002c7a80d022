"""What LiteRT says of a network that is to become INT8; the plan is made in `edgekit.quantize.planning`.

XNNPACK and LiteRT's own kernels take int8 activations with any zero point and int8 weights, symmetric and per
channel, whatever the CPU (LiteRT 8-bit quantization specification): a target's rule for uint8 is for other runtimes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.backends.litert.flatbuffer import Op, read_flatbuffer, read_ops
from edgekit.backends.litert.interpreter import open_all
from edgekit.backends.litert.origins import Origins, kept_in_file
from edgekit.errors import MissingExtraError, StageError
from edgekit.graph.layers import weighted_layers
from edgekit.graph.tables import look_ups
from edgekit.quantize import Range, Scheme, make_observer
from edgekit.quantize.apart import mixed_scales
from edgekit.quantize.measured import MeasuredNetwork
from edgekit.quantize.observers.ranges import SMALLEST_WIDTH
from edgekit.quantize.plan import Part, followed
from edgekit.quantize.planning import Refusal, Settled, named_by_recipe, refused_keys, unique_layers
from edgekit.quantize.stream import ARITHMETIC, FUNCTIONS, between_products, functions
from edgekit.quantize.trained import OBSERVED
from edgekit.quiet import quiet
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.backends.litert.convert import Port
    from edgekit.graph import CalibrationData
    from edgekit.quantize import Recipe

__all__ = ["LiteRtPlanner", "computed_tensors", "integers_of"]

WIDER = 1.5
"""By how much a range may grow to have zero in its middle: less than a bit."""


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
        return {"versions": self.versions, "transformers": sorted(ARITHMETIC | FUNCTIONS), "tables": "rows"}

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
        apart = [layer for layer in mixed_scales(measured, recipe) if tensors[layer.name] in in_file]
        return unique_layers(*kept, *apart, *(self._transformers(model) if recipe.io == "float" else ()))

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
        ops = read_ops(read_flatbuffer(self.path))
        within = _within_float(ops, measured.model, in_float)
        ranges = measured.recall(
            "ranges",
            {**settings, "within float": sorted(within)},
            lambda: collect(self.path, measured.data, recipe, self.inputs, measured.threads, within),
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
        floats = kept_in_file(ops, measured.model, [layer.name for layer in in_float])
        integers = [op for op in ops if op.name not in floats]
        settled, groups = followed(ranges, _same_scale(integers))
        if recipe.observer != "trained":  # whose weights know their grids
            settled = with_symmetric_factors(settled, groups, integers)
        names, tensors = {layer.name for layer in in_float}, computed_tensors(measured.model)
        rows = {op.name for op in ops if op.kind == "EMBEDDING_LOOKUP"}
        tables = (name for name in look_ups(measured.model) if name not in names and tensors[name] in rows)
        return Settled(settled, groups, tuple(notes), tables=tuple(tables))

    def leaves(self, recipe: Recipe) -> tuple[Part, ...]:
        return ()

    def _computed(self) -> frozenset[str]:
        return frozenset(op.name for op in read_ops(read_flatbuffer(self.path)))

    def _transformers(self, model: onnx.ModelProto) -> Iterator[FloatLayer]:
        """Sums and functions of a network that attends, as far as the file has operations of their own for them.

        XNNPACK has no integer kernels for the parts of a normalization and for softmax. With LiteRT's own a small DeiT
        took 0.73 ms, in float 0.39, with these alone in float 0.22 (ai-edge-litert 2.3, x86 with AVX512). What takes
        and gives int8 is for devices without float: there all is in integers.
        """
        own = Origins(read_ops(read_flatbuffer(self.path)), model).in_operations_of_their_own()
        return (layer for layer in (*between_products(model), *functions(model)) if layer.name in own)


def integers_of(recipe: Recipe) -> Scheme:
    """LiteRT's own, with the recipe's granularity."""
    return Scheme("int8", 8, recipe.granularity == "per-channel")


def computed_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """ONNX node → the tensor by which the operation that computes it is found in the .tflite: its result, behind an
    activation that is fused into it."""
    outputs = {node.name: node.output[0] for node in model.graph.node if node.output}
    return {**outputs, **{layer.name: layer.result for layer in weighted_layers(model)}}


def _within_float(
    ops: Sequence[Op], model: onnx.ModelProto, in_float: Sequence[FloatLayer]
) -> frozenset[str]:
    """Tensors that sums and functions in float alone make and read: they need no range, and a mask has none."""
    fixed = [layer.name for layer in in_float if layer.reason in ("runtime", "stream")]
    kept = set(kept_in_file(ops, model, fixed))
    readers: dict[str, list[str]] = defaultdict(list)
    for op in ops:
        for tensor in op.inputs:
            readers[tensor.name].append(op.name)
    made = [output.name for op in ops if op.name in kept for output in op.outputs]
    return frozenset(name for name in made if readers[name] and kept.issuperset(readers[name]))


def collect(
    path: Path,
    data: CalibrationData,
    recipe: Recipe,
    inputs: Sequence[Port],
    threads: int = 1,
    without: Collection[str] = (),
) -> dict[str, Range]:
    """Tensor name → range of every float tensor that the .tflite at `path` computes, but those `without` one; one pass,
    one sample at a time.

    What a maximum over an image is padded with, minus infinity, is no value of it: on the input's scale it is the least
    integer, which never is a maximum. Raises StageError when a tensor holds NaN or infinity, or there are no samples.
    """
    padded = {op.name for op in read_ops(read_flatbuffer(path)) if op.kind == "PADV2"}
    with open_all(path, threads) as network:
        tensors = network.interpreter.get_tensor_details()
        names = {int(tensor["index"]): str(tensor["name"]) for tensor in tensors}
        observers = {
            index: make_observer(observer_of(recipe), recipe.percentile)
            for index in network.tensors
            if names[index] not in without
        }
        for arrays in data.chunks(1, recipe.samples):
            feeds = [
                np.moveaxis(array, 1, -1) if port.channels_last else array
                for array, port in zip(arrays, inputs, strict=True)
            ]
            for index, value in network.look(feeds).items():
                if index not in observers:
                    continue
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
