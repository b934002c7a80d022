"""Why each group and block was touched or was not: what the other choice would have cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.plan.solving import Allocation, BlockWay, PlanProblem, RemovableBlock, predicted
from edgekit.planning.coupling import Coupling

__all__ = ["AttentionChoice", "PlanChoice", "attention_choices", "plan_choices", "unchanged"]


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


@dataclass(frozen=True)
class AttentionChoice:
    """What a plan leaves of an attention, named by the layer that reads its result.

    `heads`, `key`, `value`: as `2 of 4`, `gone`; "" where nothing tells them apart; the widths are those of each head.
    `why`: why it stays as it is, or a part of it does; "" where all of it was narrowed.
    """

    layer: str
    heads: str
    key: str
    value: str
    why: str


def attention_choices(
    coupling: Coupling, kept: Mapping[str, str], choices: Sequence[PlanChoice]
) -> tuple[AttentionChoice, ...]:
    """All attentions, in the network's order. `choices`: of the plan; `kept`: what no plan touches → why."""
    by_group = {choice.name: choice for choice in choices if choice.kind == "group"}
    group = {group.name: group for group in coupling.groups}
    told = []
    for attention in coupling.attentions:
        shown, reasons = [], []
        for name in (attention.heads, attention.key, attention.value):
            choice = by_group.get(name)
            most = group[name].widths[-1] if name else 0
            shown.append(choice.chosen if choice else f"{most} of {most}" if name else "")
            if name and choice is None:
                reasons += [
                    kept[key] for key in (*coupling.told_of(group[name]), *attention.makers) if key in kept
                ]
            elif choice is not None and choice.chosen == f"{most} of {most}":
                reasons.append(_why_whole(name, choice))
        heads, key, value = shown
        told.append(AttentionChoice(attention.reader, heads, key, value, "; ".join(dict.fromkeys(reasons))))
    return tuple(told)


def _why_whole(name: str, choice: PlanChoice) -> str:
    """Of a group that could be narrower."""
    if choice.latency_ms is None or choice.harm is None:
        return f"{name}: {choice.otherwise}"
    return f"{name}: {choice.otherwise} would change {choice.latency_ms:+.4f} ms at {choice.harm:+.3g} harm"


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
