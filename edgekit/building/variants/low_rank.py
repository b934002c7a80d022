"""Low-rank variants: layers as products of smaller ones, kept only where the board runs them faster, then distilled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.code import code_digest
from edgekit.building.given import GivenModel
from edgekit.building.layer_times import timed_precision
from edgekit.building.request import LOW_RANK_AUTO, BuildRequest
from edgekit.building.variants.base import Made, MakerContext
from edgekit.building.variants.distilled import SLACK_TO_FRACTION, job_for, train_pruned
from edgekit.building.variants.factor_times import FactorTimes, factor_times, widest_steps
from edgekit.building.variants.original import example_inputs
from edgekit.building.variants.pruned import LEAST_TRAINING_S, leaders, never_trained, with_free_memory
from edgekit.building.variants.training import seconds_left, validator
from edgekit.building.variants.untrained_timing import UntrainedTiming, time_factors, untrained_factors
from edgekit.compress import (
    FactorStep,
    LowRankPlan,
    PruneConfig,
    RankOption,
    asked_ranks,
    chosen_steps,
    factorized,
    plan_of,
    rank_options,
    sample_batches,
)
from edgekit.data import DataSource
from edgekit.errors import StageError, UserError
from edgekit.latency import TimedUnit
from edgekit.plan import shortfall
from edgekit.types import Candidate, Rejection

__all__ = ["LowRankMaker", "refuse_unknown_ranks"]

WHAT = "low rank"

ENERGIES = (0.99, 0.98, 0.95, 0.9, 0.8)
"""Shares of a layer's output variance that are tried, the most first."""

MOST_ALONE = 8
"""Layers that are timed by themselves, those that save the most MACs; the others together."""


class LowRankMaker:
    """Factorizes what gets faster by it on the board, and trains the network with the original as the teacher."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        request = context.request
        if request.low_rank is None:
            return None
        never = never_trained(context.model, context.splits, WHAT, "its layers cannot be factorized")
        if never is not None:
            return never
        if not leaders(context.attempts, context.measurements, request.budget):
            return Rejection(WHAT, "no build of the original could be measured")
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried(WHAT)
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker. Raises StageError when nothing has a latency or the training fails."""
        asked = context.request.low_rank
        if asked is None:
            return
        budget = with_free_memory(context.request.budget, context.measurements.values())
        lead = leaders(context.attempts, context.measurements, budget)[0].candidate
        plan: LowRankPlan | None
        if isinstance(asked, tuple):
            plan = asked_ranks(context.model.load(), example_inputs(context.source), asked)
            timing = time_factors(context, lead, {"lowrank-asked": plan})
            slower = timing.why_not_faster("lowrank-asked", plan.text())
            if slower:
                yield Rejection(WHAT, slower)
                return
        else:
            rejections, plan = chosen_plan(context, lead, asked)
            yield from rejections
            if plan is None:
                return
        job = replace(job_for(context, PruneConfig(), 1.0), low_rank=plan.to_json())
        yield from train_pruned(context, job)


def chosen_plan(
    context: MakerContext, lead: Candidate, asked: float | str
) -> tuple[list[Rejection], LowRankPlan | None]:
    """What is not faster with its times, and the plan that is trained: at the share asked for, or the best of several.

    Layers are looked at first, one at a time, at the lowest ranks that may be chosen: what is not faster there is not
    faster at higher ones. By the table of layers' times, which then chooses form and rank, or where that does not tell,
    in the network. Then the networks of what is left.
    """
    energies = ENERGIES if asked == LOW_RANK_AUTO else (float(asked),)
    options = options_of(context, context.target.channel_multiple(lead.precision))
    if not chosen_steps(options, energies[-1]):
        reason = f"no layer keeps {energies[-1]:g} of its outputs' variance with fewer MACs"
        return [Rejection(WHAT, reason, "a lower share, or ranks of your own")], None
    times = times_of(context, lead, options)
    rejections, known, cost = list[Rejection](), frozenset[str](), macs_of
    if times is not None:
        options, rejections, known = times.kept_and_rejected(options, energies[-1])
        cost = times.cost
    lowest = chosen_steps(options, energies[-1], cost)
    untold = {name: option for name, option in lowest.items() if name not in known}
    slow = slow_layers(context, lead, untold)
    rejections += dict.fromkeys(slow.values())
    plans = {}
    for energy in energies:
        chosen = chosen_steps(options, energy, cost)
        steps = [option.step for name, option in chosen.items() if name in lowest and name not in slow]
        if steps:
            plans[f"lowrank-{energy:g}"] = planned_of(context, steps)
    if not plans:
        return rejections, None
    timing = time_factors(context, lead, plans)
    faster = [name for name in plans if timing.is_faster(name, clearly=True)]
    if not faster:
        last = list(plans)[-1]
        rejections.append(Rejection(WHAT, timing.why_not_faster(last, shown(plans[last]))))
        return rejections, None
    name, told = picked(context, timing, {name: plans[name] for name in faster}, asked)
    return [*rejections, *told], plans[name] if name else None


def slow_layers(
    context: MakerContext, lead: Candidate, options: Mapping[str, RankOption]
) -> dict[str, Rejection]:
    """The layers that do not get faster by their options, each timed in the network alone; those of a rest together."""
    if not options:
        return {}
    by_saving = sorted(options, key=lambda name: (-options[name].saved, name))
    parts = {name: [name] for name in by_saving[:MOST_ALONE]}
    if by_saving[MOST_ALONE:]:
        parts["the other layers"] = by_saving[MOST_ALONE:]
    plans = {
        f"lowrank-part-{number}": planned_of(context, [options[name].step for name in names])
        for number, names in enumerate(parts.values())
    }
    timing = time_factors(context, lead, plans)
    slow: dict[str, Rejection] = {}
    for (part, names), (key, plan) in zip(parts.items(), plans.items(), strict=True):
        slower = timing.why_not_faster(key, shown(plan), clearly=False)
        if slower:
            slow |= dict.fromkeys(names, Rejection(f"{WHAT} of {part}", slower))
    return slow


def times_of(context: MakerContext, lead: Candidate, options: Sequence[RankOption]) -> FactorTimes | None:
    """What the table of layers' times says of the options; None without one for the leading build."""
    times, precision = context.layer_times, timed_precision(lead)
    if times is None or precision is None or times.runtime not in (None, lead.backend):
        return None
    networks, rows = [], list[TimedUnit]()
    try:
        for number, steps in enumerate(widest_steps(options)):
            variant = untrained_factors(context, f"lowrank-widest-{number}", planned_of(context, steps))
            networks.append((steps, Path(variant.onnx_path)))
            rows += times.table_for(Path(variant.onnx_path), lead.backend, precision).timed
        original = Path(context.original.onnx_path)
        # Each network has the table that it was timed by, the original's perhaps from before.
        table = times.table_for(original, lead.backend, precision)
        table = table.with_timed((*rows, *table.timed))
        return factor_times(table, lead.backend, precision, original, networks)
    except (StageError, UserError) as error:
        cause = error.cause if isinstance(error, StageError) else error.parts[0]
        context.reporter.say(f"factors are timed in whole networks: {cause}")
        return None


def planned_of(context: MakerContext, steps: Sequence[FactorStep]) -> LowRankPlan:
    """The plan of these steps."""
    return plan_of(context.model.load(), example_inputs(context.source), steps)


def macs_of(option: RankOption) -> float:
    """Of its factors."""
    return option.macs


def picked(
    context: MakerContext, timing: UntrainedTiming, plans: Mapping[str, LowRankPlan], asked: float | str
) -> tuple[str, list[Rejection]]:
    """Of the plans that are faster, the highest share first, the one that is trained; "" with the reason for none.

    For a latency: the highest share within the budget. For the fastest: the fastest whose drop without any training is
    no more than a step of pruning may lose above the limit, else the one that keeps the most.
    """
    budget = with_free_memory(context.request.budget, context.measurements.values())
    if asked != LOW_RANK_AUTO:
        return next(iter(plans)), []
    if not budget.fastest:
        fitting = [name for name in plans if not shortfall(timing.structures[name], budget)]
        if fitting:
            return fitting[0], []
        last = list(plans)[-1]
        reason = f"even {shown(plans[last])} needs {shortfall(timing.structures[last], budget)}"
        return "", [Rejection(WHAT, reason, "a larger budget, a faster board, or ranks of your own")]
    allowed = (budget.max_drop or 0.0) + SLACK_TO_FRACTION
    drops = untrained_drops(context, plans)
    usable = [name for name in plans if drops[name] <= allowed] or [next(iter(plans))]
    return min(usable, key=lambda name: timing.structures[name].latency_ms), []


def untrained_drops(context: MakerContext, plans: Mapping[str, LowRankPlan]) -> dict[str, float]:
    """What the networks of the plans lose before any training, on calibration samples: fractions."""
    train, samples = context.splits.train, context.splits.calibration
    assert train is not None
    example, original = example_inputs(context.source), context.model.load()
    score = validator(samples, original)
    parts = {
        "model": context.model.ref.digest,
        "train_data": train.digest,
        "samples": samples.digest,
        "compress": code_digest(("compress",)),
    }
    drops = {}
    with context.reporter.step("Looking at low ranks untrained") as step:
        for done, (name, plan) in enumerate(plans.items()):
            step.advance(done / len(plans), name)

            def look(_: object, plan: LowRankPlan = plan) -> dict[str, float]:
                return {"drop": score(original) - score(factorized(original, example, plan, train))}

            entry = context.cache.entry("untrained", {**parts, "low_rank": plan.to_json()}, look)
            drops[name] = float(entry.meta["drop"])
    return drops


def options_of(context: MakerContext, round_to: int) -> tuple[RankOption, ...]:
    """All ways to factorize a layer, from the store or measured now."""
    train = context.splits.train
    assert train is not None
    parts = {
        "model": context.model.ref.digest,
        "train_data": train.digest,
        "round_to": round_to,
        "compress": code_digest(("compress",)),
    }

    def make(_: Any) -> dict[str, Any]:
        with context.reporter.step("Looking for ranks that keep what layers give"):
            options = rank_options(
                context.model.load(), example_inputs(context.source), sample_batches(train), round_to
            )
        return {"options": msgspec.to_builtins(options)}

    meta = context.cache.entry("ranks", parts, make).meta
    return msgspec.convert(meta["options"], tuple[RankOption, ...])


def refuse_unknown_ranks(request: BuildRequest, model: GivenModel, source: DataSource) -> None:
    """Every layer that is named has to be one that can be factorized, with ranks below full. Raises UserError."""
    if isinstance(request.low_rank, tuple):
        asked_ranks(model.load(), example_inputs(source), request.low_rank)


def shown(plan: LowRankPlan, most: int = 4) -> str:
    """The first layers with their ranks, and how many more."""
    texts: Sequence[str] = [step.text() for step in plan.steps]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
