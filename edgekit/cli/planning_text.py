"""What `edgekit plan` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgekit.errors import UserError, visible

if TYPE_CHECKING:
    from edgekit.building.planned import PlannedNetwork, PlannedProposal
    from edgekit.plan.solving import Proposal
    from edgekit.planning import AttentionChoice, PlanChoice

__all__ = ["planned_json", "print_planned"]

WIDTH = 80


def planned_json(planned: PlannedNetwork) -> str:
    """Every plan in full; an unbounded figure (no plan) is null."""
    import msgspec

    content = msgspec.to_builtins(planned)
    content = {"schema": 1, **content}
    for shown, item in zip(content["proposals"], planned.proposals, strict=True):
        shown["pruning"] = msgspec.json.decode(item.pruning)
        shown["proposal"]["solution"]["gap"] = item.proposal.solution.gap
    return msgspec.json.format(msgspec.json.encode(content), indent=1).decode()


def print_planned(planned: PlannedNetwork, show: int) -> None:
    """The plans beside each other, then one in full. Raises UserError for a plan that is not there."""
    if show > len(planned.proposals):
        raise UserError(f"--show {show}", allowed=f"1 to {len(planned.proposals)}")
    for line in planned_lines(planned, show - 1):
        click.echo(visible(line))


def planned_lines(planned: PlannedNetwork, index: int) -> list[str]:
    """No line is wider than 80 columns, but for names that are."""
    where = planned.measured_on
    lines = [
        f"PLAN  {planned.target}: {where.runtime} {planned.precision}, {where.threads} thread"
        f"{'' if where.threads == 1 else 's'}; nothing was trained",
        *wrapped(f"times measured on {where.machine} ({where.cpu}), {where.runtime} {where.version}"),
        f"  as it is {planned.original.latency_ms:.4g} ms, {planned.original.size_bytes / 1000:,.0f} kB of weights"
        f"; limit {planned.limits.latency_ms:.4g} ms",
        "",
        f"  {'plan':<5}{'asked for':<30}{'ms':>9}{'harm':>10}{'gap':>8}{'kB':>9}{'blocks':>7}",
    ]
    lines += [row(planned, number, item) for number, item in enumerate(planned.proposals, 1)]
    first = planned.proposals[0].proposal.solution
    if first.outcome == "INFEASIBLE":
        lines += [
            "",
            *wrapped("INFEASIBLE: no plan keeps within the limits; plan 1 is the fastest that there is."),
        ]
    elif first.outcome == "NOT_FOUND":
        lines += [
            "",
            *wrapped("No plan within all limits was found, and it is not proved that there is none."),
        ]
    chosen = planned.proposals[index]
    lines += ["", f"  plan {index + 1}, and what each other choice would change, all else as it is"]
    lines += [f"    {'block or group':<28}{'chosen':<12}{'otherwise':<16}{'ms':>9}{'harm':>10}"]
    lines += [choice_line(choice) for choice in chosen.choices]
    if chosen.attentions:
        lines += ["", "  attentions: heads, and channels of each for queries and keys, and for values"]
        lines += [f"    {'read by':<36}{'heads':<12}{'keys':<14}{'values'}"]
        lines += [line for attention in chosen.attentions for line in attention_lines(attention)]
    if planned.kept:
        lines += ["", "  left whole"]
        lines += [
            line for layer, why in planned.kept.items() for line in wrapped(told_of(layer, why), "    ")
        ]
    notes = [
        *planned.notes,
        f"batch-norm statistics of so few samples alone do harm {planned.floor:.2g}, which no figure here contains",
    ]
    lines += ["", "  notes", *(line for note in notes for line in wrapped(note, "    "))]
    return lines


def row(planned: PlannedNetwork, number: int, item: PlannedProposal) -> str:
    solution = item.proposal.solution
    plan = solution.plan
    gap = f"{solution.relative_gap:.2%}" if solution.outcome == "FOUND" else "-"
    blocks = len({choice.name for choice in item.choices if choice.kind == "block"})
    gone = f"{len(plan.dropped) + len(plan.merged)}/{blocks}"
    return (
        f"  {number:<5}{asked(item.proposal):<30}{plan.latency_ms:>9.4f}{plan.harm:>10.4g}{gap:>8}"
        f"{plan.size_bytes / 1000:>9,.0f}{gone:>7}"
    )


def asked(proposal: Proposal) -> str:
    """In words, what a plan was asked for."""
    words = ["the limit" if proposal.share == 1.0 else f"{proposal.share:.0%} of the limit"]
    words += [] if proposal.depth else ["all blocks kept"]
    words += [] if proposal.mixed else ["one precision"]
    return ", ".join(words)


def attention_lines(choice: AttentionChoice) -> Iterator[str]:
    """What is left of it, and why it is as it is."""
    yield f"    {ending(choice.layer, 35):<36}{choice.heads:<12}{choice.key:<14}{choice.value}".rstrip()
    if choice.why:
        yield from wrapped(choice.why, "      ")


def ending(name: str, most: int) -> str:
    """The name, or its last characters."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def choice_line(choice: PlanChoice) -> str:
    name = ending(choice.name, 27)
    if choice.latency_ms is None or choice.harm is None:
        return f"    {name:<28}{choice.chosen:<12}{choice.otherwise}"
    otherwise = choice.otherwise.partition(",")[0]
    return f"    {name:<28}{choice.chosen:<12}{otherwise:<16}{choice.latency_ms:>+9.4f}{choice.harm:>+10.3g}"


def told_of(layer: str, why: str) -> str:
    return why if why.startswith(f"{layer} ") else f"{layer}: {why}"


def wrapped(text: str, indent: str = "  ") -> Iterator[str]:
    return iter(textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  "))
