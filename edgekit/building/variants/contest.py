"""Which plan is trained: several are looked at untrained, a few trained a little, and the best one wholly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.code import code_digest
from edgekit.building.side_by_side import side_by_side
from edgekit.building.variants.aiming import Aim, TrainedPlan
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.basis import PlanBasis
from edgekit.building.variants.distilled import is_trained, job_for, train_pruned, trained, with_opened
from edgekit.building.variants.halving import LENGTHS_BY_TIME, RUNGS, SPARE, Contest, epochs_that_fit, halved
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.named_task import why_it_stays
from edgekit.building.variants.proposing import TimedPlan
from edgekit.building.variants.pruned import LEAST_TRAINING_S
from edgekit.building.variants.training import (
    STEP_BATCHES,
    at_least,
    seconds_left,
    training_for,
    validator,
)
from edgekit.compress import PruneConfig, TeacherOutputs, look_at
from edgekit.errors import StageError
from edgekit.progress import SilentReporter
from edgekit.store import StoreEntry
from edgekit.types import Rejection

__all__ = [
    "MOST_CONTENDERS",
    "Contender",
    "Standing",
    "contested",
    "has_time_for",
    "train_winner",
    "with_untrained",
]

MOST_CONTENDERS = 4
"""Plans that are trained a little: the untrained network tells the others from them."""

FEWEST = 50
"""Training samples of which some can be held aside to rank plans by."""

CONTEST_SHARE = 1 / 3
"""Of the time that is left for training."""

ASIDE, MOST_ASIDE = 0.1, 2000
"""Of the training samples, for ranking plans: a share, and no more samples than these."""


@dataclass(frozen=True)
class Contender:
    """A plan within the budget. `untrained`: its score on calibration samples before any training, a fraction."""

    plan: TimedPlan
    untrained: float


def with_untrained(
    context: MakerContext, basis: PlanBasis, plans: Sequence[TimedPlan]
) -> tuple[Contender, ...]:
    """Each plan with the score of the network after it: batch norms estimated anew, nothing trained. In their order."""
    samples = basis.channels_from
    parts = {
        "model": context.model.ref.digest,
        "samples": samples.digest,
        "compress": code_digest(("compress",)),
    }
    contenders = []
    with context.reporter.step("Looking at plans untrained") as step:
        for done, plan in enumerate(plans):
            step.advance(done / len(plans), plan.id)

            def look(_: object, plan: TimedPlan = plan) -> dict[str, float]:
                network = look_at(basis.module, basis.example, plan.pruning, samples)
                return {"score": validator(samples, basis.module)(network)}

            entry = context.cache.entry("untrained", {**parts, "plan": plan.pruning.to_json()}, look)
            contenders.append(Contender(plan, float(entry.meta["score"])))
    return tuple(contenders)


@dataclass(frozen=True)
class Standing:
    """How a contest ended. `epoch_s`: seconds that an epoch of the winner takes, where one was seen whole.

    `rungs`: the winner's own short trainings.
    """

    contest: Contest
    epoch_s: float | None = None
    rungs: tuple[PruneJob, ...] = ()


def contested(context: MakerContext, contenders: Sequence[Contender], most: int | None = None) -> Standing:
    """The few that look best, `most` or MOST_CONTENDERS of them, halved until one is left.

    With a time limit all that are on a rung have the same time, and the contest a third of what is left: most of the
    time belongs to the winner. How far it came in that time is kept: a rerun, for which the trainings cost nothing,
    ends where it ended.
    """
    order = sorted(range(len(contenders)), key=lambda index: (-contenders[index].untrained, index))
    named = {contenders[index].plan.id: contenders[index].plan for index in order[: most or MOST_CONTENDERS]}
    if len(context.splits.train or ()) < FEWEST:
        return Standing(Contest(next(iter(named)), {}))
    limit = context.time_limit
    if limit is None:
        return halving(context, named)
    jobs = {
        name: [
            with_opened(rung_job(context, plan, share), context.cache.store).key_parts() for share in RUNGS
        ]
        for name, plan in named.items()
    }

    def play(_: Path) -> dict[str, Any]:
        standing = halving(context, named)
        return {
            "winner": standing.contest.winner,
            "scores": {name: list(scores) for name, scores in standing.contest.scores.items()},
            "epoch_s": standing.epoch_s,
            "rungs": len(standing.rungs),
        }

    # Only what has ended is kept, so no time limit of the cache's is needed.
    cache = replace(context.cache, time_limit=None)
    meta = cache.entry("contest", {"time_limit_s": limit.limit_s, "jobs": jobs}, play).meta
    winner = named[meta["winner"]]
    return Standing(
        Contest(winner.id, {name: tuple(scores) for name, scores in meta["scores"].items()}),
        meta["epoch_s"],
        tuple(rung_job(context, winner, share) for share in RUNGS[: meta["rungs"]]),
    )


def halving(context: MakerContext, named: Mapping[str, TimedPlan]) -> Standing:
    """The contest itself; `named` stand in the order of what is expected of them."""
    context = replace(context, teacher_outputs=TeacherOutputs())
    # A rung takes as long as the first: half of the plans, twice the length.
    first_s = CONTEST_SHARE * seconds_left(context.time_limit) / (len(RUNGS) * len(named))
    epoch_s: dict[str, float] = {}
    jobs: dict[str, tuple[PruneJob, ...]] = {}

    def train(context: MakerContext, name: str, share: float, beside: int = 1) -> tuple[StoreEntry, bool]:
        limit = training_for(context.time_limit, beside * first_s * share / RUNGS[0])
        job = rung_job(context, named[name], share)
        entry, cut = trained(replace(context, time_limit=limit), job, f"Training {name} a little")
        return entry, cut is None

    def score(name: str, share: float) -> float:
        job = rung_job(context, named[name], share)
        entry, is_whole = train(context, name, share)
        jobs[name] = (*jobs.get(name, ()), job)
        if is_whole:
            epoch_s[name] = entry.meta["seconds"] / job.train.epochs
        return float(entry.meta["aside"])

    def may_go_on() -> bool:
        return seconds_left(context.time_limit) > LEAST_TRAINING_S

    def ahead(names: Sequence[str], share: float) -> None:
        missing = [name for name in names if not is_trained(context, rung_job(context, named[name], share))]
        if context.executor is None or len(missing) < 2 or why_it_stays(context):
            return
        beside = min(context.executor.slots, len(missing))
        silent = replace(context, reporter=SilentReporter())
        with context.reporter.step(f"Training {len(missing)} plans a little, side by side"):
            calls = {name: partial(train, silent, name, share, beside) for name in missing}
            made = side_by_side(context.executor, calls).values()
        for failure in made:
            if isinstance(failure, StageError):
                raise failure

    contest = halved(list(named), RUNGS, score, may_go_on, ahead)
    if contest.winner not in jobs and has_only_a_limit(context) and may_go_on():
        score(contest.winner, RUNGS[0])  # for its pace
    return Standing(contest, epoch_s.get(contest.winner), jobs.get(contest.winner, ()))


def rung_job(context: MakerContext, plan: TimedPlan, share: float) -> PruneJob:
    """A share of the whole training, on all samples but those that plans are ranked by."""
    job, train = planned_job(context, plan), context.splits.train
    assert train is not None
    batch = context.request.train.batch_size
    aside = min(ASIDE, MOST_ASIDE / len(train))
    epochs = at_least(STEP_BATCHES, share * job.train.epochs, len(train), batch)
    return replace(job, train=replace(job.train, epochs=epochs, aside=aside))


def planned_job(context: MakerContext, plan: TimedPlan) -> PruneJob:
    """The whole training of what is left after a plan."""
    return replace(job_for(context, PruneConfig(), None), plan=plan.pruning.to_json())


def has_only_a_limit(context: MakerContext) -> bool:
    """Whether nothing but a time limit says how long to train."""
    return context.time_limit is not None and context.request.train.epochs is None


def train_winner(
    context: MakerContext, plan: TimedPlan, standing: Standing, name: str = ""
) -> Iterator[MadeVariant | Rejection]:
    """The plan's network, trained wholly: as long as the time that is left allows where nothing else says how long.

    Where the time limit cut that so short that a training of the contest led to more, its network is taken. Raises
    StageError, TimeLimitReached.
    """
    job = whole_job(context, plan, standing.epoch_s)
    _, cut = trained(context, job)
    if cut is None:
        yield from train_pruned(context, job, name)
        return
    best = max((job, *standing.rungs), key=lambda shorter: validated(context, shorter))
    yield from train_pruned(context, best, name)
    if best is not job:
        yield cut.cut_short(f"the whole training of {plan.id}")


def whole_job(context: MakerContext, plan: TimedPlan, epoch_s: float | None) -> PruneJob:
    """Of the length that was asked for; else the longest one in the store, or one that fits into the time.

    In the store counts also what this very limit has cut short.
    """
    job = planned_job(context, plan)
    if not has_only_a_limit(context):
        return job
    default = job.train.epochs
    for length in sorted(LENGTHS_BY_TIME, reverse=True):
        longer = replace(job, train=replace(job.train, epochs=length * default))
        if is_trained(context, longer):
            return longer
    if epoch_s is None:
        return job
    fitting = epochs_that_fit(default, seconds_left(context.time_limit), epoch_s)
    return replace(job, train=replace(job.train, epochs=fitting))


def has_time_for(
    context: MakerContext, last: TimedPlan, trained_plans: Sequence[TrainedPlan], aim: Aim
) -> bool:
    """Whether another round fits into the time limit: its contest's third, and a whole training of the usual length.

    `last`: the plan that was trained last, whose pace is taken. It is decided once, so that a rerun, which has more
    time left, does what its first run did.
    """
    limit = context.time_limit
    if limit is None:
        return True

    def decide(_: Path) -> dict[str, bool]:
        job, usual = whole_job(context, last, None), planned_job(context, last)
        took_s = context.cache.took_s.get("pruned", [0.0])[-1] * usual.train.epochs / job.train.epochs
        return {"goes_on": seconds_left(limit) * (1 - CONTEST_SHARE) > SPARE * took_s}

    parts = {
        "model": context.model.ref.digest,
        "samples": context.splits.validation.digest,
        "time_limit_s": limit.limit_s,
        "trained": msgspec.to_builtins(list(trained_plans)),
        "aim_ms": aim.latency_ms,
    }
    return bool(replace(context.cache, time_limit=None).entry("again", parts, decide).meta["goes_on"])


def validated(context: MakerContext, job: PruneJob) -> float:
    """The accuracy on the validation split of a network that has been trained."""
    accuracy: float = trained(context, job)[0].meta["steps"][-1]["accuracy"]
    return accuracy
