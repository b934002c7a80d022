"""The plans of a build in words, the same for the page and the terminal. Names are on one line and rule nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.errors import shortened
from edgekit.report.verdict import ORIGINS, metric_of
from edgekit.report.wording import amount_text, level_text, ms_text, plural
from edgekit.result import Result
from edgekit.types import Origin, PlanningResult, PlanResult

__all__ = [
    "PlanRow",
    "PlanningSection",
    "is_sum",
    "plan_sentence",
    "planning_section",
    "planning_text",
    "told_plans",
]

TIMED: dict[Origin, str] = {
    "device": "measured",
    "host": "measured here",
    "emulated": "emulated",
    "estimated": "estimated",
}
MOST_PLANS, MOST_GROUPS, MOST_BLOCKS, MOST_LISTED = 40, 80, 20, 200
"""Plans, groups and blocks of each, and reasons and notes: the page stays below 2 MB. result.json has them all."""
NAME = 80
NAMED, BRIEF = 3, 24  # blocks by name in a sentence, and characters of each


@dataclass(frozen=True)
class PlanRow:
    """A plan as texts. `times`: beside the section's headings; `groups`: names and widths (`16 of 32`).

    `variant`: the network that it became, or "" with `why`; `reached`: what was measured of that.
    """

    id: str
    times: tuple[str, ...]
    macs: str
    untrained: str
    scores: str
    dropped: str
    merged: str
    narrowed: str
    groups: tuple[tuple[str, str], ...]
    unlisted: int
    variant: str
    why: str
    reached: str = ""


@dataclass(frozen=True)
class PlanningSection:
    """What the page says of all plans. `lead`: how the search ended; `basis`: where times come from, in sentences.

    `times`: headings, the last one that of the plans' own times; `kept`: layers that stay whole, by their reason.
    """

    lead: str
    basis: tuple[str, ...]
    times: tuple[str, ...]
    rows: tuple[PlanRow, ...]
    unlisted: int
    kept: tuple[tuple[str, str], ...]
    kept_layers: int
    unlisted_reasons: int
    notes: tuple[str, ...]


def planning_section(result: Result) -> PlanningSection | None:
    """None where the build had no table of layers' times."""
    planning = result.planning
    if planning is None:
        return None
    drawn, kept = told_plans(planning), _alike(planning)
    notes, more = planning.notes[:MOST_LISTED], len(planning.notes) - MOST_LISTED
    return PlanningSection(
        lead=_sentence(planning.reason),
        basis=_basis(planning),
        times=_headings(planning),
        rows=tuple(_row(plan, planning, metric_of(result)) for plan in drawn),
        unlisted=len(planning.plans) - len(drawn),
        kept=kept[:MOST_LISTED],
        kept_layers=len(planning.kept),
        unlisted_reasons=max(0, len(kept) - MOST_LISTED),
        notes=(
            *(_sentence(note) for note in notes),
            *([f"{plural(more, 'more note')} in result.json."] if more > 0 else []),
        ),
    )


def told_plans(planning: PlanningResult) -> tuple[PlanResult, ...]:
    """All, or of many the trained ones and the first, in the order in which they were proposed."""
    order = sorted(range(len(planning.plans)), key=lambda index: (not planning.plans[index].variant, index))
    return tuple(planning.plans[index] for index in sorted(order[:MOST_PLANS]))


def planning_text(result: Result) -> str:
    """How the search ended and which plan was trained, in a few sentences; "" without plans."""
    planning = result.planning
    if planning is None:
        return ""
    trained = [plan for plan in planning.plans if plan.variant]
    told = [f"{_name(plan)} was trained ({_times(plan, planning)}): {_changes(plan)}." for plan in trained]
    return " ".join([f"plans: {_sentence(planning.reason, is_capital=False)}", *(told or [_none(planning)])])


def plan_sentence(plan: PlanResult, planning: PlanningResult) -> str:
    """One plan with its times, what it takes away, and what became of it."""
    became = f"trained as {shortened(plan.variant, NAME)}" if plan.variant else shortened(plan.why)
    told = f"{_name(plan)}: {_times(plan, planning)}; {_changes(plan)}"
    return f"{told}; {became}." if became else f"{told}."


def _none(planning: PlanningResult) -> str:
    if not planning.plans:
        return "None was trained."
    fastest = min(
        planning.plans,
        key=lambda plan: (
            plan.latency_ms is None,
            plan.predicted_ms if plan.latency_ms is None else plan.latency_ms,
        ),
    )
    return f"None was trained; the fastest is {_name(fastest)} ({_times(fastest, planning)})."


def is_sum(planning: PlanningResult) -> bool:
    """Whether the plans' own times are what the table predicts: no board told another."""
    return planning.origin == "estimated" and all(
        plan.latency_ms in (None, plan.predicted_ms) for plan in planning.plans
    )


def _headings(planning: PlanningResult) -> tuple[str, ...]:
    word = TIMED[planning.origin]
    own = f"{word}, ms" if planning.origin == "estimated" else f"{word} {planning.percentile}, ms"
    return (own,) if is_sum(planning) else ("predicted, ms", own)


def _basis(planning: PlanningResult) -> tuple[str, ...]:
    table = (
        f"Plans follow a table of single layers' times in {planning.precision}, measured on"
        f" {shortened(planning.table)}. By it the network as it is takes {ms_text(planning.original_ms)} ms; the budget"
        f" is {planning.limit_ms:g} ms at {planning.percentile}."
    )
    if planning.origin == "estimated":
        return (table, "The board was not here, so no plan was timed: each time below is an estimate.")
    return (
        table,
        f"Plans were {ORIGINS[planning.origin]}, before any training: time does not depend on what weights hold."
        f" Their time is the high end of the interval of {planning.percentile}.",
    )


def _times(plan: PlanResult, planning: PlanningResult) -> str:
    predicted, word = ms_text(plan.predicted_ms), TIMED[planning.origin]
    if is_sum(planning):
        return f"{word} {predicted} ms"
    if plan.latency_ms is None:
        return f"predicted {predicted} ms, not {'estimated' if planning.origin == 'estimated' else 'timed'}"
    return f"predicted {predicted}, {word} {ms_text(plan.latency_ms)} ms at {planning.percentile}"


def _changes(plan: PlanResult) -> str:
    parts = []
    for names, done in ((plan.dropped, "dropped"), (plan.merged, "merged")):
        if names:
            parts.append(f"block{'s' if len(names) > 1 else ''} {_listed(names)} {done}")
    if plan.widths:
        parts.append(f"{plural(len(plan.widths), 'group')} narrowed")
    return ", ".join([*parts, f"{_percent(plan.macs)} of the MACs left"])


def _reached(plan: PlanResult, planning: PlanningResult, metric: str) -> str:
    """What the trained network lost, and took, where it was timed; "" where its accuracy was not measured."""
    if plan.drop is None:
        return ""
    lost = f"{amount_text(abs(plan.drop), metric)} {'lost' if plan.drop >= 0 else 'gained'}"
    if plan.trained_ms is None or planning.origin == "estimated":
        return f"{lost} once trained"
    return f"{lost} and {ms_text(plan.trained_ms)} ms once trained"


def _row(plan: PlanResult, planning: PlanningResult, metric: str) -> PlanRow:
    own = "–" if plan.latency_ms is None else ms_text(plan.latency_ms)
    predicted = ms_text(plan.predicted_ms)
    groups = [(shortened(name, NAME), f"{left} of {before}") for name, (left, before) in plan.widths.items()]
    return PlanRow(
        id=_name(plan),
        times=(predicted,) if is_sum(planning) else (predicted, own),
        macs=_percent(plan.macs),
        untrained="–" if plan.untrained is None else level_text(plan.untrained, metric),
        scores=", ".join(level_text(score, metric) for score in plan.scores) or "–",
        dropped=_joined(plan.dropped, MOST_BLOCKS, NAME),
        merged=_joined(plan.merged, MOST_BLOCKS, NAME),
        narrowed=plural(len(plan.widths), "group") if plan.widths else "",
        groups=tuple(groups[:MOST_GROUPS]),
        unlisted=max(0, len(groups) - MOST_GROUPS),
        variant=shortened(plan.variant, NAME),
        why=_sentence(plan.why),
        reached=_reached(plan, planning, metric),
    )


def _alike(planning: PlanningResult) -> tuple[tuple[str, str], ...]:
    """Layers that stay whole for one reason, and the reason. Some reasons begin with the layer's name."""
    by_reason: dict[str, list[str]] = {}
    for layer, why in planning.kept.items():
        by_reason.setdefault(why.removeprefix(f"{layer} "), []).append(layer)
    return tuple((_joined(layers, MOST_BLOCKS, NAME), shortened(why)) for why, layers in by_reason.items())


def _listed(names: Sequence[str]) -> str:
    return _joined(names, NAMED, BRIEF)


def _joined(names: Sequence[str], most: int, width: int) -> str:
    told: Iterable[str] = (shortened(name, width) for name in names[:most])
    return ", ".join(told) + (f" and {len(names) - most} more" if len(names) > most else "")


def _name(plan: PlanResult) -> str:
    return shortened(plan.id, BRIEF)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _sentence(text: str, *, is_capital: bool = True) -> str:
    told = shortened(text)
    first = told[:1].upper() if is_capital else told[:1]
    return f"{first}{told[1:].removesuffix('.')}." if told else ""
