"""Low rank as a maker: how it is asked for, what the board rejects with its times, which plan is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from edgekit.building.request import read_low_rank
from edgekit.building.variants import low_rank
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.low_rank import LowRankMaker, chosen_plan, refuse_unknown_ranks
from edgekit.compress import LowRankPlan
from edgekit.errors import StageError, UserError
from edgekit.plan import Structure
from edgekit.types import Candidate, Estimate, Rejection, Variant
from tests.building.parts import budget, count_entries
from tests.one_thread import one_thread

__all__ = ["one_thread"]

Times = Callable[[str], float]


def asking(
    context: MakerContext, asked: Any, times_ms: Times = lambda name: 0.1, **limits: Any
) -> MakerContext:
    """Asks for low rank; untrained networks take `times_ms` of their ids, the original 1 ms."""

    def probe(variants: Sequence[Variant], original: Variant, leads: Sequence[Candidate]) -> list[Structure]:
        structures = []
        for variant in variants:
            median_ms = 1.0 if variant.id == "original" else times_ms(variant.id)
            if median_ms:
                at = Estimate(median_ms, 0.98 * median_ms, 1.02 * median_ms)
                structures.append(Structure(1.0, at.high, 1, 1, leads[0].id, None, variant.id, at))
        return structures

    request = replace(context.request, low_rank=read_low_rank(asked))
    if limits:
        request = replace(request, budget=budget(**limits))
    return replace(context, request=request, probe=probe)


def trained_plan(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Any], LowRankPlan | None]:
    """What the maker gives, and the plan that it would train."""
    jobs: list[PruneJob] = []
    monkeypatch.setattr(low_rank, "train_pruned", lambda context, job: jobs.append(job) or [])
    made = list(LowRankMaker().make(context))
    return made, LowRankPlan.from_json(jobs[0].low_rank) if jobs else None


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, None),
        ("auto", "auto"),
        ("0.9", 0.9),
        (0.5, 0.5),
        ("fc1=32", (("fc1", (32,)),)),
        ("a.0=32, b=16x8", (("a.0", (32,)), ("b", (16, 8)))),
        ({"a": 3, "b": (1, 2), "c": [4]}, (("a", (3,)), ("b", (1, 2)), ("c", (4,)))),
    ],
)
def test_low_rank_is_read_from_texts_numbers_and_dicts(given: Any, read: Any) -> None:
    assert read_low_rank(given) == read


@pytest.mark.parametrize(
    "given",
    ["", "1", "0", "1.5", "nan", "-0.5", "much", True, "a=", "=3", "a=0", "a=-1", "a=1.5", "a=1x2x3", "a=1,a=2",
     {}, {"a": 0}, {"a": 1.5}, {"a": True}, {3: 4}, [3]],
)  # fmt: skip
def test_what_is_no_low_rank_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(
        UserError, match=r"low_rank is .*; allowed: auto, a share of each layer's output"
    ) as refused:
        read_low_rank(given)
    assert "\n" not in str(refused.value)


def test_nothing_is_factorized_unasked(context: MakerContext) -> None:
    assert LowRankMaker().why_not(context) is None
    assert list(LowRankMaker().make(context)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: replace(c, model=replace(c.model, ref=replace(c.model.ref, kind="onnx"))), "factorized"),
        (lambda c: replace(c, splits=replace(c.splits, train=None)), "no training samples"),
        (lambda c: replace(c, measurements={}), "could be measured"),
    ],
)
def test_why_nothing_can_be_factorized_is_a_rejection(context: MakerContext, change: Any, told: str) -> None:
    asked = asking(context, "auto")
    assert LowRankMaker().why_not(asked) is None
    rejection = LowRankMaker().why_not(change(asked))
    assert rejection is not None
    assert rejection.what == "low rank"
    assert told in rejection.reason


def test_ranks_that_are_none_are_refused_before_all_else(context: MakerContext) -> None:
    asked = asking(context, "head=10")
    with pytest.raises(UserError, match="head has a full rank of 10"):
        refuse_unknown_ranks(asked.request, asked.model, asked.source)
    for fine in ("auto", 0.9, "head=4"):
        asked = asking(context, fine)
        refuse_unknown_ranks(asked.request, asked.model, asked.source)


def test_ranks_that_were_asked_for_are_trained_kept_and_come_back(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asking(context, "conv1=8,down=4x8", max_drop=1.0)
    (made,) = LowRankMaker().make(asked)
    assert isinstance(made, MadeVariant)
    assert (made.variant.kind, made.variant.parent) == ("low-rank", "original")
    assert made.variant.id.startswith("lowrank-")
    assert made.variant.description.startswith("low rank conv1=8,down=4x8: ")
    assert made.history[0] == "low rank: conv1=8,down=4x8"
    assert [step.kind for step in made.steps] == ["final"]
    entries = count_entries(asked.cache)
    monkeypatch.setattr("edgekit.building.variants.job.train_low_rank", None)
    assert list(LowRankMaker().make(asked)) == [made]
    assert count_entries(asked.cache) == entries


@pytest.mark.parametrize(("median_ms", "is_rejected"), [(1.2, True), (0.99, True), (0.9, False)])
def test_ranks_that_are_not_clearly_faster_are_rejected_with_the_two_times(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch, median_ms: float, is_rejected: bool
) -> None:
    made, plan = trained_plan(asking(context, "conv1=8", lambda name: median_ms), monkeypatch)
    assert (plan is None) is is_rejected
    if is_rejected:
        (rejection,) = made
        assert isinstance(rejection, Rejection)
        assert rejection.what == "low rank"
        assert f"with conv1=8 the network takes {median_ms:g} ms [" in rejection.reason
        assert "as it is 1 ms [0.98, 1.02] (median, onnxruntime int8)" in rejection.reason


@pytest.mark.parametrize(("origin", "told"), [("device", "as measured"), ("estimated", "by the estimates")])
def test_times_that_nobody_measured_are_called_estimates(
    context: MakerContext, origin: Any, told: str
) -> None:
    asked = asking(context, "conv1=8", lambda name: 1.2)
    measured = {name: replace(row, origin=origin) for name, row in asked.measurements.items()}
    (rejection,) = LowRankMaker().make(replace(asked, measurements=measured))
    assert isinstance(rejection, Rejection)
    assert rejection.reason.startswith(f"not faster {told}: with conv1=8")


def test_what_could_not_be_timed_is_told(context: MakerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    made, plan = trained_plan(asking(context, "conv1=8", lambda name: 0.0), monkeypatch)
    assert plan is None
    assert made == [Rejection("low rank", "conv1=8 could not be timed")]
    with pytest.raises(StageError, match="the network as it is"):
        list(LowRankMaker().make(replace(asking(context, "conv1=8"), probe=lambda *_: [])))


def test_layers_that_are_not_faster_stay_and_the_others_are_factorized(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = asking(context, 0.3, max_drop=0.02, fastest=True)
    _, whole = trained_plan(everything, monkeypatch)
    assert whole is not None
    names = [step.layer for step in whole.steps]
    assert len(names) > 2
    slow = asking(context, 0.3, lambda name: 1.5 if name == "lowrank-part-0" else 0.5, fastest=True)
    made, plan = trained_plan(slow, monkeypatch)
    (rejection,) = made
    assert plan is not None
    layer = rejection.what.removeprefix("low rank of ")
    assert sorted([layer, *(step.layer for step in plan.steps)]) == sorted(names)
    assert "the network takes 1.5 ms" in rejection.reason
    rejections, nothing = chosen_plan(asking(context, 0.3, lambda name: 2.0), slow_lead(context), 0.3)
    assert nothing is None
    assert len(rejections) == len(names)


def slow_lead(context: MakerContext) -> Candidate:
    return context.attempts[0].candidate


def test_many_layers_are_timed_together(context: MakerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank, "MOST_ALONE", 1)
    slow = asking(context, 0.3, lambda name: 1.5 if name == "lowrank-part-1" else 0.5, fastest=True)
    made, plan = trained_plan(slow, monkeypatch)
    assert [rejection.what for rejection in made] == ["low rank of the other layers"]
    assert plan is not None
    assert len(plan.steps) == 1


def test_a_network_that_is_not_faster_though_its_layers_are_is_rejected(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asking(context, 0.3, lambda name: 0.5 if "part" in name else 1.1, fastest=True)
    made, plan = trained_plan(asked, monkeypatch)
    assert plan is None
    assert [rejection.what for rejection in made] == ["low rank"]


def test_a_share_that_no_layer_can_keep_is_a_rejection(context: MakerContext) -> None:
    made = list(LowRankMaker().make(asking(context, 0.999)))
    assert [rejection.what for rejection in made] == ["low rank"]
    assert "no layer keeps 0.999 of its outputs' variance" in made[0].reason


ENERGY_MS = {"lowrank-0.5": 0.9, "lowrank-0.4": 0.6, "lowrank-0.3": 0.3}


@pytest.mark.parametrize(
    ("limits", "drops", "picked"),
    [
        ({"max_latency_ms": 0.7, "max_drop": 0.02}, {}, "lowrank-0.4"),
        ({"max_latency_ms": 5.0, "max_drop": 0.02}, {}, "lowrank-0.5"),
        ({"max_latency_ms": 0.2, "max_drop": 0.02}, {}, ""),
        ({"fastest": True, "max_drop": 0.02}, {"0.5": 0.0, "0.4": 0.1, "0.3": 0.2}, "lowrank-0.4"),
        ({"fastest": True, "max_drop": 0.02}, {"0.5": 0.5, "0.4": 0.6, "0.3": 0.7}, "lowrank-0.5"),
        ({"fastest": True, "max_drop": 0.02}, {"0.5": 0.0, "0.4": 0.0, "0.3": 0.0}, "lowrank-0.3"),
    ],
)
def test_of_several_shares_the_one_that_the_budget_wants_is_trained(
    context: MakerContext,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, Any],
    drops: dict[str, float],
    picked: str,
) -> None:
    monkeypatch.setattr(low_rank, "ENERGIES", (0.5, 0.4, 0.3))
    monkeypatch.setattr(
        low_rank,
        "untrained_drops",
        lambda _, plans: {f"lowrank-{name}": drop for name, drop in drops.items()},
    )
    asked = asking(context, "auto", lambda name: ENERGY_MS.get(name, 0.2), **limits)
    made, plan = trained_plan(asked, monkeypatch)
    assert (plan is not None) is bool(picked)
    if plan is None:
        (rejection,) = made
        assert "even " in rejection.reason
        assert "0.306 ms at p90 of 0.2 ms" in rejection.reason
        return
    monkeypatch.setattr(low_rank, "ENERGIES", (float(picked.removeprefix("lowrank-")),))
    assert trained_plan(asking(context, "auto", lambda _: 0.01, **limits), monkeypatch)[1] == plan
