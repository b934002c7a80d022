"""Reads out of an INT8 artifact where it has integers: what its runtime fuses and shares is in the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.table import open_reader
from edgekit.errors import StageError
from edgekit.graph.layers import weighted_layers
from edgekit.graph.taps import load_graph
from edgekit.quantize.observers.ranges import Range
from edgekit.quantize.placement import MOVES, Placement

if TYPE_CHECKING:
    from edgekit.quantize import QuantPlan
    from edgekit.types import Artifact

__all__ = ["read_placement"]


def read_placement(artifact: Artifact, plan: QuantPlan, onnx_path: Path) -> Placement:
    """The placement of `artifact`, which `plan` says of and which was made of the float network `onnx_path`.

    Grids are those that the file holds, so that a simulation of them rounds what the runtime rounds; of tensors that
    hold the same integers the first is named. Raises StageError
    where nothing is in integers, or in such that are not simulated, and ModelError when it cannot be opened.
    """
    integers = plan.integers
    if integers.symmetric or integers.weight != "int8":
        kind = "symmetric activations" if integers.symmetric else f"{integers.weight} weights"
        raise StageError("qat", f"{kind} are not simulated", "train for another runtime")
    model = load_graph(onnx_path)
    known = {port.name for port in model.graph.input}
    known.update(name for node in model.graph.node for name in node.output)
    ranges: dict[str, Range] = {}
    by_channel: dict[str, tuple[Range, ...]] = {}
    clipped: set[str] = set()
    moved: dict[str, str] = {}
    with open_reader(artifact) as reader:
        for facts in reader.tensors:
            if facts.grid is not None:
                names = known.intersection(facts.names)
                ranges.update(dict.fromkeys(names, Range(facts.grid.low, facts.grid.high)))
                channels = tuple(Range(low, high) for low, high in facts.grid.channels)
                by_channel.update(dict.fromkeys(names, channels))
                clipped.update(() if facts.grid.rounds else names)
    for node in model.graph.node:  # on the same grid before and after: rounding again changes nothing
        if node.op_type in MOVES and node.output[0] in ranges:
            same = any({node.input[0], node.output[0]} <= set(group) for group in plan.shared)
            if same and node.input[0] in known:
                moved.setdefault(node.output[0], node.input[0])
    for name, source in moved.items():
        if source in ranges or source in moved:
            ranges.pop(name)
    if not ranges:
        raise StageError(
            "qat", f"{artifact.entry} has no tensor in integers", "build INT8 for another runtime"
        )
    in_float = {layer.name for layer in plan.in_float}
    layers = tuple(layer.name for layer in weighted_layers(model) if layer.name not in in_float)
    by_channel = {name: channels for name, channels in by_channel.items() if channels and name in ranges}
    alike = ranges.keys() - by_channel.keys()
    shared = (tuple(name for name in group if name in alike) for group in plan.shared)
    groups = tuple(group for group in shared if len(group) > 1)
    return Placement(
        artifact.backend,
        integers,
        ranges,
        groups,
        layers,
        by_channel,
        tuple(name for name in ranges if name in clipped),
        plan.tables,
    )
