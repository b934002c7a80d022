"""A network's units, the tensors between them, and what each takes in float and in int8: for who chooses precisions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import StageError
from edgekit.latency.fusing import FUSING
from edgekit.latency.shapes import Shapes
from edgekit.latency.table import LatencyTable
from edgekit.latency.transitions import transition
from edgekit.latency.unit import Unit
from edgekit.latency.units import FREE, unit_graph, units_of
from edgekit.quantize import Border, PrecisionTimes, SwitchableUnit
from edgekit.types import BackendName

if TYPE_CHECKING:
    import onnx

__all__ = ["Between", "PrecisionGraph", "precision_graph"]

MOVES = FREE | {"Transpose"}
"""Nodes that have the precision of what they move."""

MOVING = frozenset({"transpose", "slice"})
"""Kinds of units that calculate nothing."""

FUNCTIONS = frozenset({"norm", "softmax"})
OF_LAYERS = frozenset({"Add", "Clip", "Gemm", "MatMul", "Relu"})


@dataclass(frozen=True)
class Between:
    """A tensor that a unit makes and others read, by their places; `transition`: its size, as a table has it."""

    tensor: str
    maker: int | None
    readers: tuple[int | None, ...]
    transition: Unit


@dataclass(frozen=True)
class PrecisionGraph:
    """`units` in int8, where they have both precisions; None for a node that is no unit. `nodes`: of each."""

    runtime: BackendName
    units: tuple[Unit | None, ...]
    nodes: tuple[tuple[str, ...], ...]
    between: tuple[Between, ...]

    def wanted(self) -> tuple[Unit, ...]:
        """What a table has to hold: each unit in both precisions, and the transitions."""
        both = [
            unit.in_precision(precision)
            for unit in self.units
            if unit is not None and is_switchable(unit)
            for precision in ("int8", "fp32")
        ]
        return tuple(dict.fromkeys((*both, *(entry.transition for entry in self.between))))

    def times(self, table: LatencyTable) -> PrecisionTimes:
        """By the table. Units that it does not tell in both precisions cannot be chosen.

        Raises StageError where it tells none of them, or lacks a transition.
        """
        units, total = [], 0.0
        for unit, nodes in zip(self.units, self.nodes, strict=True):
            in_int8 = None if unit is None else table.predict(unit).latency_ms
            total += 0.0 if in_int8 is None else in_int8.value
            in_float = None
            if unit is not None and is_switchable(unit):
                in_float = table.predict(unit.in_precision("fp32")).latency_ms
            known = in_int8 is not None and in_float is not None
            units.append(
                SwitchableUnit(nodes, in_float.value - in_int8.value if known else None)  # type: ignore[union-attr]
            )
        if all(unit.extra_ms is None for unit in units):
            raise StageError("plan", "the table holds no layer of this network in both precisions", REMEDY)
        borders = []
        for entry in self.between:
            told = table.predict(entry.transition).latency_ms
            if told is None:
                raise StageError(
                    "plan",
                    f"the table does not hold {entry.transition.text()}, which is between layers",
                    REMEDY,
                )
            borders.append(Border(entry.tensor, entry.maker, entry.readers, told.value))
        place = table.measured_on
        where = f"{place.cpu or place.machine} with {place.runtime} {place.version}, threads: {place.threads}"
        return PrecisionTimes(tuple(units), tuple(borders), total, FUSING[self.runtime].rounds_results, where)


REMEDY = "measure them there: edgekit latency measure --mixed, or give --latency-table auto"


def precision_graph(model: Path, runtime: BackendName) -> PrecisionGraph:
    """Of the float network at `model`. Raises what `units_of` raises."""
    graph = unit_graph(model)
    kinds = {node.name: node.op_type for node in graph.graph.node}
    units = [
        replace(unit, nodes=_of_layer(unit, kinds))
        for unit in units_of(model, runtime, "int8").units
        if unit.family.kind not in MOVING
    ]
    return _Reader(graph, units).read(runtime)


def is_switchable(unit: Unit) -> bool:
    """Whether a unit of an INT8 network may be float instead: a normalization or a GELU is several nodes or operations,
    which are not named one by one."""
    family = unit.family
    is_function = family.kind in FUNCTIONS or (family.kind == "pointwise" and family.activation == "Gelu")
    return family.precision == "int8" and not is_function


def _of_layer(unit: Unit, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """The unit's nodes; of a product those ahead of a GELU or a scale that run with it, which are float anyway."""
    if unit.family.kind not in ("linear", "product"):
        return unit.nodes
    return tuple(itertools.takewhile(lambda name: kinds[name] in OF_LAYERS, unit.nodes))


class _Reader:
    """Nodes that are in no unit are units of one precision by themselves; those that only move values are none."""

    def __init__(self, model: onnx.ModelProto, units: Sequence[Unit]) -> None:
        self.shapes = Shapes(model)
        self.inputs = [port.name for port in model.graph.input if port.name not in self.shapes.weights]
        self.outputs = {port.name for port in model.graph.output}
        self.units: list[Unit | None] = list(units)
        kinds = {node.name: node.op_type for node in model.graph.node}
        self.nodes = [chosen_nodes(unit, kinds) for unit in units]
        self.place = {name: index for index, unit in enumerate(units) for name in unit.nodes}
        self.moving: dict[str, list[Any]] = {}
        self.readers: dict[str, list[Any]] = {}
        self.makers: dict[str, int | None] = dict.fromkeys(self.inputs)
        for node in model.graph.node:
            live = [name for name in node.input if name and name not in self.shapes.weights]
            if not live:
                self.shapes.weights.update(node.output)  # a constant, whatever computes it
                continue
            for name in live:
                self.readers.setdefault(name, []).append(node)
            if node.name not in self.place and node.op_type not in MOVES:
                self.place[node.name] = len(self.units)
                self.units.append(None)
                self.nodes.append((node.name,))
            if node.name in self.place:
                self.makers.update(dict.fromkeys(node.output, self.place[node.name]))

    def read(self, runtime: BackendName) -> PrecisionGraph:
        between = []
        for tensor, maker in self.makers.items():
            readers = tuple(
                dict.fromkeys(place for place in self.read_by(tensor) if place != maker or place is None)
            )
            size, channels = self.shapes.size_and_channels(tensor)
            if readers and channels and min(size) > 0 and (maker, readers) != (None, (None,)):
                between.append(Between(tensor, maker, readers, transition(size, channels)))
        return PrecisionGraph(runtime, tuple(self.units), tuple(self.nodes), tuple(between))

    def read_by(self, tensor: str) -> Iterator[int | None]:
        """Places of the units that read a tensor, also behind what only moves it; None for the network's end."""
        if tensor in self.outputs:
            yield None
        for node in self.readers.get(tensor, ()):
            if node.name in self.place:
                yield self.place[node.name]
            else:
                for name in node.output:
                    yield from self.read_by(name)


def chosen_nodes(unit: Unit, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Nodes that a choice of the unit's precision is about. Within an attention scales and sums stay float anyway."""
    if unit.family.kind != "attention":
        return unit.nodes
    return tuple(name for name in unit.nodes if kinds[name] in ("MatMul", "Softmax"))
