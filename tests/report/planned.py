"""Made-up plans of a build, for what shows them. No figure in them was measured."""

from __future__ import annotations

from dataclasses import replace

from edgekit.result import Result
from edgekit.testing.results import example_result
from edgekit.types import LayerStaircase, PlanningResult, PlanResult

__all__ = ["example_planning", "planned"]

STEPS = (0.6, 1.0, 1.9, 2.0, 3.1, 3.3, 4.6, 4.4)
"""Of the time at 8 channels, at multiples of 8."""


def planned(planning: PlanningResult) -> Result:
    return replace(example_result(), planning=planning)


def example_planning(groups: int = 14) -> PlanningResult:
    """Six plans, one of them trained, three within the budget, one without a time."""
    widths = {f"layer{1 + place // 6}.{place % 3}.conv{place}": (16, 32) for place in range(groups)}
    plans = (
        PlanResult(
            "plan-1", 0.1123, 0.1302, 3.1, 0.52, ("2.1",), widths, why="0.130 ms at p90 of 0.12 ms (with 2% to spare)"
        ),
        PlanResult("plan-2", 0.1007, 0.1166, 4.25, 0.434, ("2.1", "3.1"), widths, 0.614, (0.883, 0.902), "planned-43",
                   drop=0.0081, trained_ms=0.1169),
        PlanResult(
            "plan-3", 0.1011, 0.1171, 4.4, 0.452, (), {**widths, "stem": (8, 16)}, 0.583, (0.871,),
            why="another plan learnt better: 87.1% after 1 short training",
        ),
        PlanResult(
            "plan-4", 0.0934, 0.1085, 5.0, 0.391, ("1.1", "2.1", "3.1"), {}, 0.412, why="others looked better untrained"
        ),
        PlanResult("plan-5", 0.0987, None, 5.1, 0.402, ("3.2",), widths, why="no runtime could run it"),
        PlanResult(
            "plan-6", 0.1057, 0.1224, 3.9, 0.471, ("2.1",), widths, why="0.122 ms at p90 of 0.12 ms (with 2% to spare)"
        ),
    )  # fmt: skip
    return PlanningResult(
        runtime="onnxruntime",
        precision="int8",
        table="this machine, onnxruntime 1.31.1, 1 thread",
        origin="device",
        percentile="p90",
        limit_ms=0.12,
        original_ms=0.2031,
        plans=plans,
        reason="2 of 6 plans keep within 0.12 ms; measured times were 1.16 of the predicted ones",
        kept={
            "conv1": "conv1 makes what is added to the network's input",
            "fc": "fc makes an output of the network",
            "head.project": "head.project makes an output of the network",
        },
        staircases=tuple(
            staircase(name, channels, scale)
            for name, channels, scale in (
                ("layer3.0.conv2", 64, 1.0),
                ("layer2.1.conv1", 32, 0.8),
                ("layer1.0.conv1", 24, 0.9),
                ("layer3.0.conv1", 64, 0.6),
            )
        ),
        notes=("all layers have one precision: a table holds no time of a change between two",),
    )  # fmt: skip


def staircase(layer: str, channels: int, scale: float) -> LayerStaircase:
    """At all multiples of 8 up to its channels."""
    times = [0.0031 * scale * step for step in STEPS[: channels // 8]]
    return LayerStaircase(
        layer,
        channels,
        tuple((8 * (place + 1), time, 0.97 * time, 1.05 * time) for place, time in enumerate(times)),
    )
