"""Why each group and block was touched or was not: what the other choice would have cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.plan.solving import Allocation, PlanProblem, predicted

__all__ = ["PlanChoice", "plan_choices", "unchanged"]


@dataclass(frozen=True)
class PlanChoice:
    """One group or block of a plan. `chosen`: as `16 of 32`, `dropped`; `otherwise`: the choice that was not made.

    `latency_ms`, `harm`: what that would change, all else being as it is; None where there was no other choice, or the
    group has gone with its block.
    """

    kind: Literal["group", "block"]
    name: str
    chosen: str
    otherwise: str
    latency_ms: float | None = None
    harm: float | None = None


def unchanged(problem: PlanProblem) -> Allocation:
    """The network as it is: full widths, all blocks, each unit in its first precision."""
    widths = {group.name: group.widths[-1] for group in problem.groups}
    return predicted(problem, widths, (), {unit.name: next(iter(unit.costs)) for unit in problem.units})


def plan_choices(problem: PlanProblem, plan: Allocation) -> tuple[PlanChoice, ...]:
    """All groups and blocks of the problem, in its order."""
    whole = unchanged(problem)
    told = []
    for block in problem.blocks:
        is_dropped = block.name in plan.dropped
        dropped = [name for name in plan.dropped if name != block.name]
        other = predicted(
            problem,
            {**whole.widths, **plan.widths},
            dropped if is_dropped else [*dropped, block.name],
            {**whole.precisions, **plan.precisions},
        )
        words = ("dropped", "kept, its inside whole") if is_dropped else ("kept", "dropped")
        told.append(_compared("block", block.name, *words, plan, other))
    for group in problem.groups:
        width, most = plan.widths.get(group.name), group.widths[-1]
        if width is None:
            told.append(PlanChoice("group", group.name, "gone", f"goes with {problem.block_of[group.name]}"))
            continue
        narrower = [count for count in group.widths if count < width]
        instead = most if width < most else narrower[-1] if narrower else None
        chosen = f"{width} of {most}"
        if instead is None:
            told.append(PlanChoice("group", group.name, chosen, "no narrower width is allowed and timed"))
            continue
        other = predicted(problem, {**plan.widths, group.name: instead}, plan.dropped, plan.precisions)
        told.append(_compared("group", group.name, chosen, str(instead), plan, other))
    return tuple(told)


def _compared(
    kind: Literal["group", "block"],
    name: str,
    chosen: str,
    otherwise: str,
    plan: Allocation,
    other: Allocation,
) -> PlanChoice:
    return PlanChoice(
        kind, name, chosen, otherwise, other.latency_ms - plan.latency_ms, other.harm - plan.harm
    )
