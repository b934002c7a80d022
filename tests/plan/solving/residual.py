"""A made-up residual network: streams that blocks share, inner widths, blocks that may go, changes of precision."""

from __future__ import annotations

import itertools
import random

from edgekit.plan.solving import (
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    Transition,
    WidthGroup,
)


def residual_network(*, stages: int, blocks: int, widths: int, seed: int = 0) -> PlanProblem:
    """Times are of whole vectors of 16 channels, with a little noise; int8 takes a third of fp32."""
    draw = random.Random(seed)
    channels = [8 * (i + 1) for i in range(widths)]

    def group(name: str, weight: float) -> WidthGroup:
        return WidthGroup(
            name, tuple(channels), tuple(weight * (1 - c / channels[-1]) ** 1.5 for c in channels)
        )

    def unit(name: str, reads: str | None, makes: str | None, block: str | None = None) -> LayerUnit:
        costs = {}
        for precision, factor, harm in (("fp32", 1.0, 0.0), ("int8", 0.33, draw.uniform(0.0, 0.3))):
            table = tuple(
                0.003 + factor * a * -(-b // 16) * 16 * 1e-5 * draw.uniform(0.97, 1.03)
                for a in (channels if reads else [3])
                for b in (channels if makes else [10])
            )
            costs[precision] = PrecisionCost(table, harm=harm)
        return LayerUnit(name, costs, tuple(side for side in (reads, makes) if side), block)

    groups, units, removable = [], [], []
    previous = None
    for stage in range(stages):
        stream = f"s{stage}"
        groups.append(group(stream, draw.uniform(2, 4)))
        units.append(unit(f"{stream}.in", previous, stream))
        for number in range(blocks):
            name = f"{stream}.{number}"
            groups.append(group(f"{name}.inner", draw.uniform(0.3, 1.5)))
            units.append(unit(f"{name}.conv1", stream, f"{name}.inner", name))
            units.append(unit(f"{name}.conv2", f"{name}.inner", stream, name))
            removable.append(RemovableBlock(name, draw.uniform(0.3, 3), (f"{name}.inner",)))
        previous = stream
    units.append(unit("out", previous, None))
    change = {("fp32", "int8"): 0.002, ("int8", "fp32"): 0.002}
    transitions = [Transition(a.name, b.name, change) for a, b in itertools.pairwise(units)]
    limits = PlanLimits(latency_ms=1e6)
    return PlanProblem(tuple(groups), tuple(units), limits, tuple(removable), tuple(transitions))
