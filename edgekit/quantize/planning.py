"""Makes the plan of an INT8 build. The algorithm stands here once; each runtime supplies the verbs (`Planner`)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.errors import StageError
from edgekit.quantize.apart import MOST_APART
from edgekit.quantize.kept_by_time import Kept, kept_by_time
from edgekit.quantize.measured import MeasuredNetwork, Memo, measure, remember_nothing, versions
from edgekit.quantize.observers.ranges import Range
from edgekit.quantize.plan import Part, QuantPlan, decode_plan, encode_plan
from edgekit.quantize.repair import told_repairs
from edgekit.quantize.simulate import Scheme
from edgekit.types import FloatLayer

if TYPE_CHECKING:
    import onnx

    from edgekit.graph.calibration import CalibrationData
    from edgekit.quantize.precision_times import PrecisionTimes
    from edgekit.quantize.recipe import Recipe

__all__ = [
    "Planner",
    "Refusal",
    "Settled",
    "make_plan",
    "named_by_recipe",
    "refuse",
    "refused_keys",
    "unique_layers",
]

NO_SETTINGS = frozenset({"name", "title", "backends", "next"})
"""Keys of a recipe that say nothing of how a network is quantized."""


@dataclass(frozen=True)
class Refusal:
    """Why a runtime cannot honour a key of a recipe, and what to do instead."""

    why: str
    instead: str


OBSERVES_ITSELF = Refusal("ranges are left to NNCF, which OpenVINO has", "use int8-mse")
NOT_TRAINED_FOR = Refusal("no network is trained for its symmetric integers", "use int8-mse")
FLOAT_IS_FP32: Mapping[str, Refusal] = {
    precision: Refusal("what it has in float it computes in fp32", "leave float_as out")
    for precision in ("fp16", "bf16")
}
TAKES_FLOAT = Refusal("its artifacts take and give float", 'write io = "float"')


@dataclass(frozen=True)
class Settled:
    """Ranges as they are written, the groups of tensors that share a scale, notes on what was unusual, the ranges of
    channels, and tables in int8; see QuantPlan."""

    ranges: Mapping[str, Range]
    shared: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    by_channel: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)
    tables: tuple[str, ...] = ()


class Planner(Protocol):
    """What one runtime says of one network on one target: the verbs of `make_plan`."""

    @property
    def runtime(self) -> str:
        """Its name for people."""

    def refused(self, recipe: Recipe) -> Mapping[str, Refusal]:
        """Keys of the recipe whose value it cannot honour."""

    def depends_on(self) -> Mapping[str, object]:
        """All that its answers depend on beside network and recipe, the versions of its packages included."""

    def integers(self, recipe: Recipe) -> Scheme:
        """What it multiplies on the target."""

    def network(self, folder: Path) -> Path:
        """The float network as it is measured: the variant's own file, or one prepared in the scratch `folder`."""

    def in_float(self, measured: MeasuredNetwork, recipe: Recipe) -> tuple[FloatLayer, ...]:
        """Nodes that stay float besides the most sensitive ones. Raises StageError for one that the recipe names and
        that it cannot keep so."""

    def cannot_keep(self, model: onnx.ModelProto) -> frozenset[str]:
        """Nodes that it can only run in integers, since its file has no operation of their own."""

    def settle(self, measured: MeasuredNetwork, recipe: Recipe, in_float: tuple[FloatLayer, ...]) -> Settled:
        """The ranges of the tensors that it quantizes, and which of them share a scale."""

    def leaves(self, recipe: Recipe) -> tuple[Part, ...]:
        """What its own quantizer decides on calibration samples while it writes."""


def make_plan(
    planner: Planner,
    network: Path,
    recipe: Recipe | None,
    data: CalibrationData | None,
    *,
    memo: Memo | None = None,
    threads: int = 1,
    times: PrecisionTimes | None = None,
) -> QuantPlan:
    """The plan for the float ONNX file `network`. `times`: of its layers on the board, where they are known.

    Raises StageError without a recipe and samples, for a key of the recipe that the runtime cannot honour, and when
    the network cannot be prepared or measured.
    """
    from edgekit.files import sha256_file

    if recipe is None or data is None:
        raise StageError(
            "quantize",
            f"INT8 for {planner.runtime} needs a recipe and calibration samples",
            "give a recipe, e.g. int8-minmax",
        )
    refuse(planner, recipe)
    digest, recall = sha256_file(network), memo or remember_nothing
    used = times if recipe.float_time else None

    def make() -> bytes:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            measured = measure(planner.network(Path(folder)), data, recall, threads)
            plan = _plan(planner, measured, recipe, digest, used)
            return encode_plan(replace(plan, repairs=told_repairs(network)))

    settings = {key: getattr(recipe, key) for key in recipe.__struct_fields__ if key not in NO_SETTINGS}
    parts = {
        "runtime": planner.runtime,
        "network": digest,
        "recipe": settings,
        "integers": planner.integers(recipe),
        "depends on": planner.depends_on(),
        "apart": MOST_APART,
        "calibration": data.digest,
        "samples": data.samples,
        "threads": threads,
        "times": used,
        "versions": versions(),
    }
    return replace(decode_plan(recall("plan", parts, make)), recipe=recipe.name)


def refused_keys(
    recipe: Recipe,
    *,
    nncf: bool = False,
    int8_io: bool = False,
    trained: bool = True,
    float_as: Mapping[str, Refusal] = FLOAT_IS_FP32,
) -> Mapping[str, Refusal]:
    """Keys that a runtime refuses which has no NNCF, whose artifacts take and give float alone, or for whose integers
    nothing is `trained`, and why. `float_as`: the values of that key that it does not have."""
    refused = {}
    if recipe.observer == "nncf" and not nncf:
        refused["observer"] = OBSERVES_ITSELF
    if recipe.observer == "trained" and not trained:
        refused["observer"] = NOT_TRAINED_FOR
    if recipe.io == "int8" and not int8_io:
        refused["io"] = TAKES_FLOAT
    if recipe.float_as in float_as:
        refused["float_as"] = float_as[recipe.float_as]
    return refused


def refuse(planner: Planner, recipe: Recipe) -> None:
    """Raises StageError that names the first key that the runtime cannot honour."""
    for key, refusal in planner.refused(recipe).items():
        value = getattr(recipe, key)
        raise StageError(
            "quantize",
            f'recipe "{recipe.name}": {key} = "{value}" is not for {planner.runtime}: {refusal.why}',
            refusal.instead,
        )


def _plan(
    planner: Planner, measured: MeasuredNetwork, recipe: Recipe, network: str, times: PrecisionTimes | None
) -> QuantPlan:
    integers, left = planner.integers(recipe), planner.leaves(recipe)
    fixed = planner.in_float(measured, recipe)
    if times is None or not recipe.keep_float:
        kept = Kept(_most_sensitive(planner, measured, recipe, integers, fixed))
    else:
        bound = planner.cannot_keep(measured.model)
        kept = kept_by_time(measured, recipe, integers, times, fixed, bound)
    in_float = (*fixed, *kept.layers)
    settled = Settled({}) if "ranges" in left else planner.settle(measured, recipe, in_float)
    names = {layer.name for layer in in_float}
    biases: Mapping[str, Any] = {} if "biases" in left else measured.biases(recipe, integers)
    return QuantPlan(
        network=network,
        calibration=measured.data.digest,
        recipe=recipe.name,
        observer=recipe.observer,
        samples=min(recipe.samples, measured.data.samples),
        integers=integers,
        ranges=settled.ranges,
        shared=settled.shared,
        in_float=in_float,
        bias_correction=recipe.bias_correction,
        # Layers in float have nothing to correct.
        biases={layer: bias for layer, bias in biases.items() if layer not in names},
        io=recipe.io,
        float_as=recipe.float_as,
        left_to_runtime=left,
        notes=(*settled.notes, *kept.notes),
        by_channel=settled.by_channel,
        frontier=kept.frontier,
        tables=settled.tables,
    )


def _most_sensitive(
    planner: Planner,
    measured: MeasuredNetwork,
    recipe: Recipe,
    integers: Scheme,
    fixed: tuple[FloatLayer, ...],
) -> tuple[FloatLayer, ...]:
    """As many layers as the recipe says, the most sensitive first, not counting those in float anyway."""
    if not recipe.keep_float:
        return ()
    besides = {layer.name for layer in fixed}
    names = [entry.layer for entry in measured.ranking(recipe, integers) if entry.layer not in besides]
    bound = planner.cannot_keep(measured.model)
    free = [name for name in names if name not in bound]
    return tuple(FloatLayer(name, "sensitive") for name in free[: recipe.layers_in_float(len(names))])


def named_by_recipe(
    recipe: Recipe, model: onnx.ModelProto, original: onnx.ModelProto | None = None
) -> tuple[FloatLayer, ...]:
    """Nodes of `model` whose operation the recipe keeps in float, also where only the `original` has that operation."""
    kinds = {node.name: node.op_type for node in (original or model).graph.node}
    return tuple(
        FloatLayer(node.name, "recipe")
        for node in model.graph.node
        if not {node.op_type, kinds.get(node.name)}.isdisjoint(recipe.keep_float_ops)
    )


def unique_layers(*layers: FloatLayer) -> tuple[FloatLayer, ...]:
    """Each node once, with the first reason that names it."""
    first: dict[str, FloatLayer] = {}
    for layer in layers:
        first.setdefault(layer.name, layer)
    return tuple(first.values())
