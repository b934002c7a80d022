"""Rounds of plans on a board and with trainings that are made up: what is trained next, and what is told of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.building.variants import contest, rounds
from edgekit.building.variants.base import Made, MadeVariant, MakerContext
from edgekit.building.variants.contest import Contender
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.proposing import Search, TimedPlan, search
from edgekit.building.variants.rounds import PlanRounds
from edgekit.building.variants.way import Way
from edgekit.compress import PrunePlan
from edgekit.errors import TimeLimitReached
from edgekit.latency import LatencyTable, MeasuredOn
from edgekit.plan import Structure
from edgekit.planning import unchanged
from edgekit.types import Candidate, Cost, PlanningResult, Rejection, Signature, Variant
from tests.building.parts import attempt, budget, measurement
from tests.building.variants.contexts import maker_context
from tests.building.variants.plans import FakeBasis, fake_basis, real_basis

LEAD = Candidate("original-ort-int8", "original", "onnxruntime", "int8")


@pytest.fixture(scope="module")
def basis(tmp_path_factory: pytest.TempPathFactory) -> FakeBasis:
    return fake_basis(real_basis(tmp_path_factory.mktemp("basis")))


@dataclass
class FakeLab:
    """Trains in no time: a network loses `loss` of its plan's harm, and takes `slower` times its structure's time.

    `begun`: plans that were trained wholly, in that order.
    """

    basis: FakeBasis
    loss: Callable[[float], float]
    slower: Callable[[int], float] = lambda number: 1.0
    cut_after: int = 99
    begun: list[str] = field(default_factory=list)
    became: dict[str, tuple[Attempt, ...]] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)

    def structures(self, plans: Sequence[TimedPlan]) -> dict[str, Structure]:
        return {plan.id: Structure(0.5, plan.predicted_ms, 1, 1, variant=plan.id) for plan in plans}

    def train_winner(
        self, context: MakerContext, plan: TimedPlan, standing: object, name: str
    ) -> Iterator[MadeVariant | Rejection]:
        if len(self.begun) >= self.cut_after:
            raise TimeLimitReached("the time limit of 1 h ended")
        self.begun.append(plan.id)
        harm = plan.allocation.harm - unchanged(self.basis.assembled.problem).harm
        assert plan.structure is not None
        self.times[name] = plan.structure.latency_ms * self.slower(len(self.begun))
        drop = self.loss(harm)
        self.became[name] = (
            attempt(f"{name}-int8-worse", drop=drop + 0.01, variant=name),
            attempt(f"{name}-int8", drop=drop, variant=name),
        )
        yield MadeVariant(
            Variant(name, "pruned", "original", "", "", "", Signature((), ()), Cost(1, 1, 1, 1))
        )

    def probe(
        self, variants: Sequence[Variant], original: object, leads: Sequence[Candidate]
    ) -> list[Structure]:
        (variant,) = variants
        assert [lead.id for lead in leads] == [f"{variant.id}-int8"]  # of two recipes the better one
        return [
            Structure(0.5, self.times[variant.id], 1, 1, like=lead.id, variant=variant.id) for lead in leads
        ]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakerContext]:
    def looked_at(_: object, basis: object, plans: Sequence[TimedPlan]) -> tuple[Contender, ...]:
        return tuple(Contender(plan, 1.0 - plan.allocation.harm) for plan in plans)

    def trained(_: object, job: PruneJob, title: str = "") -> tuple[Any, None]:
        return SimpleNamespace(meta={"aside": PrunePlan.from_json(job.plan).fraction, "seconds": 1.0}), None

    monkeypatch.setattr(rounds, "with_untrained", looked_at)
    monkeypatch.setattr(contest, "trained", trained)
    with maker_context(tmp_path) as made:
        yield made


def run(
    context: MakerContext,
    lab: FakeLab,
    monkeypatch: pytest.MonkeyPatch,
    share: float = 0.7,
    max_drop: float | None = 0.01,
) -> tuple[list[Made], PlanningResult]:
    """All that the rounds give, for `share` of the network's own time, and the last that is told of the plans."""
    basis = lab.basis
    limit = budget(max_latency_ms=share * unchanged(basis.assembled.problem).latency_ms, max_drop=max_drop)
    place = MeasuredOn("there", "cpu", "x86_64", (), "onnxruntime", "1", 1)
    way = Way(LEAD, LatencyTable(place), basis, limit, 1.0, False)
    monkeypatch.setattr(rounds, "timed", lambda context, way, plans: lab.structures(plans))
    monkeypatch.setattr(rounds, "train_winner", lab.train_winner)
    context = replace(
        context,
        attempts=(attempt(),),
        measurements={LEAD.id: measurement()},
        probe=lab.probe,
        became=lambda variant: lab.became[variant],
    )
    looked = search(basis, limit, 1.0, lab.structures)
    made: list[Made] = []
    try:
        made.extend(PlanRounds(context, way, looked).trained())
    except TimeLimitReached:
        made.append(Rejection("planned", "the time ended"))
    told = [part for part in made if isinstance(part, PlanningResult)]
    return made, told[-1]


def test_a_plan_that_meets_is_the_only_one_that_is_trained(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = FakeLab(basis, loss=lambda harm: 0.002)
    _, told = run(context, lab, monkeypatch)
    assert len(lab.begun) == 1
    (plan,) = [plan for plan in told.plans if plan.variant]
    assert (plan.drop, plan.trained_ms) == (0.002, plan.latency_ms)
    assert f"{plan.id} met the budget" in told.reason


def test_where_the_accuracy_cannot_be_kept_a_milder_plan_shows_what_it_takes(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    harm = run_first_harm(basis, context, monkeypatch)
    lab = FakeLab(basis, loss=lambda other: 0.02 * other / harm)
    made, told = run(context, lab, monkeypatch)
    first, second = (next(plan for plan in told.plans if plan.id == name) for name in lab.begun)
    assert first.drop is not None
    assert second.drop is not None
    assert first.drop > 0.01 >= second.drop
    assert second.latency_ms is not None
    assert second.latency_ms > told.limit_ms
    assert f"{first.id} lost" in told.reason
    assert f"{second.id}, took" in told.reason
    names = [part.variant.id for part in made if isinstance(part, MadeVariant)]
    assert len(names) == len(set(names)) == len(lab.begun) == 2


def run_first_harm(basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch) -> float:
    """Of the plan that is trained first."""
    _, told = run(context, FakeLab(basis, loss=lambda harm: 0.0), monkeypatch)
    (plan,) = [plan for plan in told.plans if plan.variant]
    return plan.harm - unchanged(basis.assembled.problem).harm


def test_what_training_made_too_slow_is_followed_by_a_faster_plan_that_meets(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = FakeLab(basis, loss=lambda harm: 0.001, slower=lambda number: 1.2 if number == 1 else 1.05)
    _, told = run(context, lab, monkeypatch)
    assert len(lab.begun) == 2
    first, second = (next(plan for plan in told.plans if plan.id == name) for name in lab.begun)
    assert first.trained_ms is not None
    assert second.trained_ms is not None
    assert first.trained_ms > told.limit_ms >= second.trained_ms
    assert f"{second.id} met the budget" in told.reason


def test_without_time_for_another_round_the_best_so_far_is_told_and_a_rerun_ends_there_too(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(seconds: float) -> MakerContext:
        return replace(context, time_limit=TimeLimit(3600.0, time.monotonic() + seconds))

    reasons = []
    for seconds in (30.0, 3600.0):  # the rerun's trainings cost nothing, so that more is left
        lab = FakeLab(basis, loss=lambda harm: 0.02)
        _, told = run(limited(seconds), lab, monkeypatch)
        assert len(lab.begun) == 1
        reasons.append(told.reason)
    assert reasons[0] == reasons[1]
    assert reasons[0].endswith("for which no time was left")


def test_a_training_that_the_limit_ends_leaves_what_was_known(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = FakeLab(basis, loss=lambda harm: 0.02, cut_after=1)
    made, told = run(context, lab, monkeypatch)
    assert isinstance(made[-1], Rejection)
    assert sum(bool(plan.variant) for plan in told.plans) == 1
    assert "the time limit of 1 h ended" in told.reason


def test_the_same_share_of_macs_is_no_name_for_two_networks(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FakeBasis.pruning

    def alike(self: FakeBasis, allocation: Any) -> PrunePlan:
        return replace(whole(self, allocation), original_macs=100, macs=50)

    monkeypatch.setattr(FakeBasis, "pruning", alike)
    lab = FakeLab(basis, loss=lambda harm: 0.001, slower=lambda number: 1.2 if number == 1 else 1.05)
    made, _ = run(context, lab, monkeypatch)
    assert [part.variant.id for part in made if isinstance(part, MadeVariant)] == [
        "planned-50",
        "planned-50-2",
    ]


def test_all_that_is_told_can_be_written(
    basis: FakeBasis, context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    _, told = run(context, FakeLab(basis, loss=lambda harm: 0.02), monkeypatch)
    assert json.loads(msgspec.json.encode(told))["plans"]
    assert isinstance(Search((), (), 1.0, ()), Search)
