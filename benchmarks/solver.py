"""How long the solver takes and how far from its bound it ends, for residual networks of growing size.

usage: python benchmarks/solver.py [--seeds 3] [--shares 0.7,0.5,0.35] [--sizes 10x8x2,...]
Made-up networks: stages whose stream is a group, blocks with one inner group each that may be bypassed, a unit that
narrows between stages; times are staircases (a vector of 8 or 16 channels), 8-bit weights and halves beside floats, and
changes of precision cost time. A limit is a share of the full network's time in float. All runs on one thread;
seconds are those of the process's CPU, as on a core of its own.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
import sys
import time
from dataclasses import replace

from common import show

from edgekit.plan.solving import (
    LayerUnit,
    PlanLimits,
    PlanProblem,
    PrecisionCost,
    RemovableBlock,
    Transition,
    WidthGroup,
    predicted,
    solve,
)

SIZES = "10x8x2,20x16x3,50x16x3,50x32x3,100x32x3,200x32x3"
PRECISIONS = {"fp32": (1.0, 0.0, 4), "fp16": (0.6, 0.01, 2), "int8": (0.3, 0.06, 1)}
"""Time as a share of float's, harm of a typical layer, bytes of a weight."""


def network(groups: int, widths: int, precisions: int, seed: int, *, bottleneck: bool) -> PlanProblem:
    """A residual network of that many groups, without a limit that binds."""
    draw = random.Random(seed)
    names = list(PRECISIONS)[:precisions] if precisions > 1 else ["fp32"]
    stages = max(1, groups // 12)
    inner_each = 2 if bottleneck else 1
    blocks_each = max(1, (groups - stages) // (stages * inner_each))
    made: list[WidthGroup] = []
    units: list[LayerUnit] = []
    blocks: list[RemovableBlock] = []

    def group(name: str, weight: float) -> None:
        harm = [weight * (1 - (i + 1) / widths) ** draw.uniform(1.2, 2.5) for i in range(widths)]
        made.append(WidthGroup(name, tuple(8 * (i + 1) for i in range(widths)), tuple(harm)))

    def time_ms(work: float, step: int, a: int, b: int) -> float:
        """In whole vectors of `step` channels, with a little noise."""
        return work * a * math.ceil(b / step) * step * 1e-8 * draw.uniform(0.97, 1.03)

    def unit(
        name: str, reads: str | None, makes: str | None, block: str | None, taps: int, size: int
    ) -> None:
        inputs = [8 * (i + 1) for i in range(widths)] if reads else [3]
        outputs = [8 * (i + 1) for i in range(widths)] if makes else [10]
        vector, overhead = draw.choice((8, 16)), draw.uniform(0.002, 0.006)
        sensitivity = draw.lognormvariate(0, 1)
        costs = {}
        for precision in names:
            factor, harm, width_bytes = PRECISIONS[precision]
            factor *= draw.uniform(0.9, 1.1)
            step = vector * (2 if precision == "int8" else 1)
            costs[precision] = PrecisionCost(
                latency_ms=tuple(
                    overhead + time_ms(factor * taps * size, step, a, b) for a in inputs for b in outputs
                ),
                size_bytes=tuple(float(width_bytes * taps * a * b) for a in inputs for b in outputs),
                harm=harm * sensitivity,
            )
        units.append(LayerUnit(name, costs, tuple(side for side in (reads, makes) if side), block))

    previous = None
    for stage in range(stages):
        stream, size = f"stage{stage:02}", max(16, 1024 >> min(stage, 6))
        group(stream, draw.uniform(2, 6))
        unit(f"{stream}.enter", previous, stream, None, 9, size)
        for number in range(blocks_each):
            block = f"{stream}.{number:02}"
            inner = [f"{block}.inner{index}" for index in range(inner_each)]
            for name in inner:
                group(name, draw.uniform(0.3, 2))
            blocks.append(RemovableBlock(block, draw.uniform(0.5, 6), tuple(inner)))
            path = [stream, *inner, stream]
            for index, (reads, makes) in enumerate(itertools.pairwise(path)):
                unit(f"{block}.conv{index}", reads, makes, block, 1 if bottleneck and index != 1 else 9, size)
        previous = stream
    unit("classifier", previous, None, None, 1, 1)
    unit_names = [item.name for item in units]
    change = {
        (first, second): 0.004 + 0.002 * ("int8" in (first, second))
        for first in names
        for second in names
        if first != second
    }
    transitions = [Transition(a, b, change) for a, b in itertools.pairwise(unit_names)]
    return PlanProblem(
        tuple(made), tuple(units), PlanLimits(latency_ms=1e9), tuple(blocks), tuple(transitions)
    )


def solved(problem: PlanProblem, share: float) -> dict[str, float | str]:
    """Seconds and gap at a share of the full network's time."""
    full = predicted(
        problem,
        {group.name: group.widths[-1] for group in problem.groups},
        (),
        {unit.name: "fp32" for unit in problem.units},
    )
    limited = replace(problem, limits=PlanLimits(latency_ms=share * full.latency_ms))
    begun = time.process_time()
    solution = solve(limited)
    return {
        "outcome": solution.outcome,
        "seconds": time.process_time() - begun,
        "gap_percent": 100 * solution.relative_gap,
        "harm": solution.plan.harm,
        "dropped": len(solution.plan.dropped),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", default="0.6,0.3,0.15")
    parser.add_argument("--sizes", default=SIZES, help="groups x widths x precisions")
    options = parser.parse_args()
    rows = {}
    for size in options.sizes.split(","):
        groups, widths, precisions = map(int, size.split("x"))
        for kind in ("basic", "bottleneck"):
            runs = [
                solved(
                    network(groups, widths, precisions, seed, bottleneck=kind == "bottleneck"), float(share)
                )
                for seed in range(options.seeds)
                for share in options.shares.split(",")
            ]
            seconds, gaps = [run["seconds"] for run in runs], [run["gap_percent"] for run in runs]
            rows[f"{size} {kind}"] = {
                "runs": len(runs),
                "outcomes": sorted({run["outcome"] for run in runs}),
                "seconds": {"median": round(statistics.median(seconds), 3), "most": round(max(seconds), 3)},
                "gap_percent": {"median": round(statistics.median(gaps), 5), "most": round(max(gaps), 5)},
            }
            print(f"{size} {kind}", rows[f"{size} {kind}"], file=sys.stderr, flush=True)
    show("solver", rows)


if __name__ == "__main__":
    main()
