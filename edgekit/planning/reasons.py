"""Why each group and block was touched or was not: what the other choice would have cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgekit.plan.solving import Allocation, BlockWay, PlanProblem, RemovableBlock, predicted

__all__ = ["PlanChoice", "plan_choices", "unchanged"]


@dataclass(frozen=True)
class PlanChoice:
    """One group or block of a plan. `chosen`: as `16 of 32`, `dropped`, `merged`; `otherwise`: a choice not made.

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
    return predicted(problem, widths, (), first_precisions(problem))


def first_precisions(problem: PlanProblem) -> dict[str, str]:
    """Of all units, those too that are there only where their block is merged."""
    return {unit.name: next(iter(unit.costs)) for unit in problem.units}


def plan_choices(problem: PlanProblem, plan: Allocation) -> tuple[PlanChoice, ...]:
    """All groups and blocks of the problem, in its order; a block with each other thing that can be done with it."""
    told = [choice for block in problem.blocks for choice in _block_choices(problem, plan, block)]
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
        widths = {**plan.widths, group.name: instead}
        other = predicted(problem, widths, plan.dropped, plan.precisions, plan.merged)
        told.append(_compared("group", group.name, chosen, str(instead), plan, other))
    return tuple(told)


def _block_choices(problem: PlanProblem, plan: Allocation, block: RemovableBlock) -> Iterator[PlanChoice]:
    whole, name = unchanged(problem), block.name
    chosen: BlockWay = "dropped" if name in plan.dropped else "merged" if name in plan.merged else "kept"
    for way in block.harms:
        if way == chosen:
            continue
        ways = {
            "dropped": set(plan.dropped) - {name},
            "merged": set(plan.merged) - {name},
            "kept": set[str](),
        }
        ways[way].add(name)
        other = predicted(
            problem,
            {**whole.widths, **plan.widths},
            ways["dropped"],
            {**first_precisions(problem), **plan.precisions},
            ways["merged"],
        )
        words = "kept, its inside whole" if way == "kept" else way
        yield _compared("block", name, chosen, words, plan, other)


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
