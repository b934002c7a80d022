"""Why each group and block was touched or was not: what the other choice would have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.plan.solving import Allocation, PlanProblem, predicted
from edgekit.planning.coupling import Coupling

__all__ = ["AttentionChoice", "PlanChoice", "attention_choices", "plan_choices", "unchanged"]


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
