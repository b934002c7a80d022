"""Small random problems for the solver, and every plan that they have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from edgekit.plan.solving import (
    BlockWay,
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    Transition,
    WidthGroup,
    WidthTable,
)

PRECISIONS = ("fp32", "int8")
costs = st.integers(0, 6).map(float)
harms = st.integers(-1, 6).map(lambda value: value / 2)


@dataclass(frozen=True)
class Tried:
    """One plan of a brute force."""

    harm: float
    latency_ms: float
    size_bytes: float
    memory_bytes: float
    energy_mj: float

    def keeps(self, limits: PlanLimits) -> bool:
        pairs = (
            (self.latency_ms, limits.latency_ms),
            (self.size_bytes, limits.size_bytes),
            (self.memory_bytes, limits.memory_bytes),
            (self.energy_mj, limits.energy_mj),
        )
        return all(limit is None or value <= limit * (1 + 1e-9) for value, limit in pairs)


@st.composite
def tables(draw: st.DrawFn, count: int) -> WidthTable:
    return tuple(draw(costs) for _ in range(count))


@st.composite
def problems(draw: st.DrawFn, *, several_limits: bool = False) -> PlanProblem:
    """Up to three groups, four units and two blocks, with costs of few values so that many plans tie."""
    groups = [
        WidthGroup(
            f"g{i}", tuple(8 * (w + 1) for w in range(count)), tuple(draw(harms) for _ in range(count))
        )
        for i, count in enumerate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    ]
    block_names = [f"b{i}" for i in range(draw(st.integers(0, 2)))]
    inner: dict[str, list[str]] = {name: [] for name in block_names}
    for group in groups[1:]:
        if block_names and draw(st.booleans()):
            inner[draw(st.sampled_from(block_names))].append(group.name)
    owner = {name: block for block, names in inner.items() for name in names}
    blocks = [draw(removable(name, tuple(inner[name]))) for name in block_names]
    ways = {block.name: tuple(block.harms) for block in blocks}
    units = []
    for i in range(draw(st.integers(1, 4))):
        block = draw(st.sampled_from([None, *block_names]))
        there = draw(st.sampled_from(places_of(ways[block]))) if block and i else ("kept",)
        usable = [
            group
            for group in groups
            if owner.get(group.name, block) == block and (there == ("kept",) or group.name not in owner)
        ]
        own = draw(st.permutations(usable))[: draw(st.integers(0, 3))]
        count = math.prod(len(group.widths) for group in own)
        units.append(
            LayerUnit(
                f"u{i}",
                {
                    precision: PrecisionCost(
                        draw(tables(count)),
                        draw(tables(count)) if several_limits else None,
                        draw(tables(count)) if several_limits else None,
                        draw(tables(count)) if several_limits else None,
                        draw(harms),
                    )
                    for precision in PRECISIONS[: draw(st.integers(1, 2))]
                },
                tuple(group.name for group in own),
                block,
                there,
            )
        )
    transitions = []
    for first, second in itertools.pairwise(units):
        between = [
            name
            for name in block_names
            if name not in (first.block, second.block) and "dropped" in ways[name]
        ]
        pairs = [(a, b) for a in first.costs for b in second.costs if a != b]
        transitions.append(
            Transition(
                first.name,
                second.name,
                {pair: draw(costs) for pair in pairs},
                tuple(name for name in between if draw(st.booleans())),
            )
        )
    positive = st.integers(1, 24).map(float)
    limits = PlanLimits(draw(positive))
    if several_limits:
        limits = PlanLimits(*(draw(st.none() | positive) for _ in range(3)), energy_mj=draw(positive))
    return PlanProblem(
        tuple(groups), tuple(units), limits, tuple(blocks), tuple(transitions), fixed_ms=draw(costs) / 4
    )


@st.composite
def removable(draw: st.DrawFn, name: str, groups: tuple[str, ...]) -> RemovableBlock:
    """A block that can be dropped, merged, or both."""
    merged = draw(st.none() | harms)
    harm = draw(harms) if merged is None else draw(st.none() | harms)
    return RemovableBlock(name, harm, groups, merged)


def places_of(ways: tuple[BlockWay, ...]) -> list[tuple[BlockWay, ...]]:
    """With which ways of its block a unit may be there."""
    return [("kept",), *([("merged",), ("kept", "merged")] if "merged" in ways else [])]


def every_plan(problem: PlanProblem) -> Iterator[Tried]:
    """All plans, with sums of their own."""
    names = [block.name for block in problem.blocks]
    for chosen in itertools.product(*(block.harms for block in problem.blocks)):
        ways = dict(zip(names, chosen, strict=True))
        gone = {name for block in problem.blocks if ways[block.name] != "kept" for name in block.groups}
        units = [unit for unit in problem.units if unit.block is None or ways[unit.block] in unit.there]
        for widths in itertools.product(*(range(len(group.widths)) for group in problem.groups)):
            at = {group.name: index for group, index in zip(problem.groups, widths, strict=True)}
            if any(at[name] for name in gone):
                continue
            for precisions in itertools.product(*(unit.costs for unit in units)):
                yield tried(
                    problem, ways, gone, at, dict(zip((u.name for u in units), precisions, strict=True))
                )


def tried(
    problem: PlanProblem,
    ways: dict[str, BlockWay],
    gone: set[str],
    at: dict[str, int],
    precisions: dict[str, str],
) -> Tried:
    dropped = {name for name, way in ways.items() if way == "dropped"}
    harm = sum(block.harms[ways[block.name]] for block in problem.blocks)
    harm += sum(group.harm[at[group.name]] for group in problem.groups if group.name not in gone)
    sums = {"latency_ms": problem.fixed_ms, "size_bytes": 0.0, "energy_mj": 0.0}
    memory = 0.0
    for unit in problem.units:
        if unit.name not in precisions:
            continue
        cost = unit.costs[precisions[unit.name]]
        sizes = [len(problem.group[name].widths) for name in unit.groups]
        states = tuple(at[name] for name in unit.groups)
        harm += cost.harm
        for name in sums:
            table = getattr(cost, name)
            sums[name] += float(np.reshape(table, sizes)[states]) if table else 0.0
        if cost.memory_bytes:
            memory = max(memory, float(np.reshape(cost.memory_bytes, sizes)[states]))
    for transition in problem.transitions:
        pair = precisions.get(transition.before), precisions.get(transition.after)
        if None not in pair and dropped >= set(transition.across):
            sums["latency_ms"] += transition.latency_ms.get(pair, 0.0)  # type: ignore[arg-type]
    return Tried(harm, sums["latency_ms"], sums["size_bytes"], memory, sums["energy_mj"])


def with_latency(problem: PlanProblem, limit_ms: float) -> PlanProblem:
    return replace(problem, limits=replace(problem.limits, latency_ms=limit_ms))
