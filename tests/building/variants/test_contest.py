"""Who is trained for how long, with trainings that are only told of: no network is made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from threading import Barrier, current_thread, main_thread
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.building.executor import InProcessExecutor
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants import contest
from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.contest import Contender, Standing, contested, train_winner, whole_job
from edgekit.building.variants.halving import LENGTHS_BY_TIME, Contest
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.proposing import TimedPlan
from edgekit.building.variants.training import seconds_left
from edgekit.compress import PrunePlan
from edgekit.compress.pruning.plan import PruneStep
from edgekit.plan.solving import Allocation
from edgekit.types import Rejection
from tests.building.variants.contexts import maker_context

HOUR = 3600.0


def contender(name: str, width: int, untrained: float = 0.5) -> Contender:
    plan = PrunePlan((PruneStep("conv1", 16, tuple(range(width))),), 100, 6 * width)
    allocation = Allocation({"conv1": width}, (), {}, 0.1, 1.0, 1.0, 1.0, 1.0)
    return Contender(TimedPlan(name, allocation, plan, 1.0, None), untrained)


@dataclass
class FakeTrainings:
    """Scores by a plan's width; what is longer than `longest_s` allows is cut short. Remembers what it was asked."""

    cut: bool = False
    asked: list[tuple[PruneJob, float]] = field(default_factory=list)

    def __call__(self, context: MakerContext, job: PruneJob, title: str = "") -> tuple[Any, TimeLimit | None]:
        self.asked.append((job, seconds_left(context.time_limit)))
        width = len(PrunePlan.from_json(job.plan).steps[0].kept)
        accuracy = 0.2 if job.train.aside == 0.0 and self.cut else 0.05 * width
        meta = {"aside": 0.05 * width, "seconds": 10 * job.train.epochs, "steps": [{"accuracy": accuracy}]}
        return SimpleNamespace(meta=meta), context.time_limit if self.cut else None


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MakerContext]:
    with maker_context(tmp_path) as made:
        options = replace(made.request.train, epochs=None)
        yield replace(made, request=replace(made.request, train=options))


def limited(context: MakerContext, seconds: float) -> MakerContext:
    return replace(context, time_limit=TimeLimit(seconds, time.monotonic() + seconds))


def test_the_better_half_goes_on_and_has_its_pace(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = FakeTrainings()
    monkeypatch.setattr(contest, "trained", trainings)
    plans = [contender(f"plan-{width}", width) for width in (2, 4, 6, 8)]
    standing = contested(context, plans)
    assert standing.contest.winner == "plan-8"
    assert standing.epoch_s == pytest.approx(10)
    assert [len(standing.contest.scores[f"plan-{width}"]) for width in (2, 4, 6, 8)] == [1, 1, 2, 2]
    assert all(0 < job.train.aside <= 0.1 for job, _ in trainings.asked)
    assert len(standing.rungs) == 2
    assert standing.rungs[1].train.epochs >= standing.rungs[0].train.epochs


def test_what_looks_worst_untrained_is_left_out(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "trained", FakeTrainings())
    plans = [contender(f"plan-{width}", width, untrained=0.1 * width) for width in range(1, 8)]
    assert set(contested(context, plans).contest.scores) == {"plan-4", "plan-5", "plan-6", "plan-7"}


def test_with_a_time_limit_the_contest_has_a_third_and_all_on_a_rung_the_same(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = FakeTrainings(cut=True)
    monkeypatch.setattr(contest, "trained", trainings)
    context = limited(context, HOUR)
    left_s = seconds_left(context.time_limit)
    standing = contested(context, [contender(f"plan-{width}", width) for width in (2, 4, 6, 8)])
    given = [seconds for _, seconds in trainings.asked]
    assert given[:4] == pytest.approx([given[0]] * 4, abs=1)
    assert given[4:] == pytest.approx([2 * given[0]] * 2, abs=1)
    assert sum(given) == pytest.approx(left_s / 3, rel=0.01)
    assert standing.epoch_s is None  # no training was seen whole


def test_the_longest_training_that_fits_is_asked_for(context: MakerContext) -> None:
    plan = contender("plan-1", 8).plan
    assert (
        whole_job(limited(context, HOUR), plan, None).train.epochs
        == whole_job(context, plan, 1.0).train.epochs
    )
    long = whole_job(limited(context, 10 * HOUR), plan, 1.0)
    assert long.train.epochs == max(LENGTHS_BY_TIME) * whole_job(context, plan, None).train.epochs
    asked = replace(context.request, train=replace(context.request.train, epochs=3.0))
    assert whole_job(limited(replace(context, request=asked), HOUR), plan, 1.0).train.epochs == 3.0


def test_a_whole_training_that_was_cut_to_nothing_gives_way_to_a_rung(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[PruneJob] = []

    def train_pruned(context: MakerContext, job: PruneJob, name: str) -> Iterator[Rejection]:
        handed.append(job)
        return iter(())

    monkeypatch.setattr(contest, "trained", FakeTrainings(cut=True))
    monkeypatch.setattr(contest, "train_pruned", train_pruned)
    context = limited(context, HOUR)
    plan = contender("plan-1", 8).plan
    rung = contest.rung_job(context, plan, 1 / 8)
    (told,) = train_winner(context, plan, Standing(Contest("plan-1", {}), None, (rung,)))
    assert handed == [rung]
    assert isinstance(told, Rejection)
    assert told.reason.startswith("cut short")
    monkeypatch.setattr(contest, "trained", FakeTrainings(cut=False))
    assert list(train_winner(context, plan, Standing(Contest("plan-1", {}), None, (rung,)))) == []
    assert handed[-1].train.aside == 0.0


class FakeCluster(InProcessExecutor):
    """Has room for three, and says whether it was asked how much it has."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked = False

    @property
    def slots(self) -> int:
        self.was_asked = True
        return 3


def test_on_a_cluster_a_rung_s_trainings_are_side_by_side_and_the_contest_is_the_same(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [contender(f"plan-{width}", width) for width in (2, 4, 6, 8)]
    monkeypatch.setattr(contest, "trained", FakeTrainings())
    here = contested(context, plans)
    barrier = Barrier(3, timeout=30)
    trainings, begun = FakeTrainings(), count()

    def at_once(context: MakerContext, job: PruneJob, title: str = "") -> tuple[Any, TimeLimit | None]:
        if current_thread() is not main_thread() and next(begun) < 3:
            barrier.wait()  # which fails unless three are trained at the same time
        return trainings(context, job, title)

    monkeypatch.setattr(contest, "trained", at_once)
    monkeypatch.setattr(contest, "why_it_stays", lambda context: "")
    there = contested(replace(context, executor=FakeCluster()), plans)
    assert there == here
    assert barrier.n_waiting == 0


def test_what_may_not_travel_or_is_stored_starts_no_cluster(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [contender(f"plan-{width}", width) for width in (2, 4)]
    monkeypatch.setattr(contest, "trained", FakeTrainings())
    cluster = FakeCluster()
    contested(replace(context, executor=cluster), plans)  # a live network stays
    monkeypatch.setattr(contest, "why_it_stays", lambda context: "")
    monkeypatch.setattr(contest, "is_trained", lambda context, job: True)
    contested(replace(context, executor=cluster), plans)
    assert not cluster.was_asked
