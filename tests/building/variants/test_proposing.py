"""Plans around a budget, on a fake board whose times are the table's times a factor that the search does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from edgekit.building.variants.basis import PlanBasis
from edgekit.building.variants.proposing import CLOSE, Search, TimedPlan, search
from edgekit.compress import PrunePlan, apply_plan
from edgekit.errors import StageError
from edgekit.model.export import export_onnx
from edgekit.plan import Structure
from edgekit.plan.narrowing import MARGIN
from edgekit.plan.solving import Allocation
from edgekit.planning import unchanged
from edgekit.types import Budget
from tests.building.variants.plans import EXAMPLE, FakeBasis, fake_basis, real_basis


class FakeBoard:
    """Takes `factor` times what was predicted, and `mute` plans fail to run. Remembers what it was asked."""

    def __init__(self, factor: float, mute: frozenset[str] = frozenset()) -> None:
        self.factor, self.mute = factor, mute
        self.asked: list[str] = []

    def __call__(self, plans: Sequence[TimedPlan]) -> Mapping[str, Structure]:
        self.asked += [plan.id for plan in plans]
        return {
            plan.id: Structure(plan.pruning.fraction, self.factor * plan.predicted_ms, 1, 1, variant=plan.id)
            for plan in plans
            if plan.id not in self.mute
        }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PlanBasis:
    return real_basis(tmp_path_factory.mktemp("basis"))


@pytest.fixture(scope="module")
def basis(whole: PlanBasis) -> FakeBasis:
    return fake_basis(whole)


def searched(basis: PlanBasis, share: float, factor: float, begun: float) -> tuple[Search, float, FakeBoard]:
    """For `share` of the time that the network as it is takes on a board of that factor."""
    limit_ms = share * factor * unchanged(basis.assembled.problem).latency_ms
    board = FakeBoard(factor)
    return search(basis, Budget(max_latency_ms=limit_ms, max_drop=0.01), begun, board), limit_ms, board


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.generate))
@example(share=0.85, factor=1.0, off=0.7)  # the table says that nothing need be done
@given(share=st.floats(0.55, 0.85), factor=st.floats(0.5, 4.0), off=st.floats(0.7, 1.4))
def test_whatever_the_table_is_off_by_a_plan_near_the_budget_is_found(
    basis: PlanBasis, share: float, factor: float, off: float
) -> None:
    looked, limit_ms, board = searched(basis, share, factor, begun=factor * off)
    assert looked.ratio == pytest.approx(factor)
    assert board.asked == [plan.id for plan in looked.plans] == list(dict.fromkeys(board.asked))
    assert len({plan.pruning.to_json() for plan in looked.plans}) == len(looked.plans)
    assert looked.within
    for plan in looked.within:
        assert plan.structure is not None
        assert plan.structure.latency_ms <= limit_ms
    harms = [plan.allocation.harm for plan in looked.within]
    assert harms == sorted(harms)


def test_the_search_ends_once_a_plan_all_but_fills_the_budget(basis: PlanBasis) -> None:
    looked, limit_ms, _ = searched(basis, 0.7, 1.3, begun=1.3)
    best = max(plan.structure.latency_ms for plan in looked.within if plan.structure)
    assert len(looked.plans) > 5 or best >= CLOSE * (1 - MARGIN) * limit_ms


def test_plans_of_a_wrong_correction_are_not_the_last_word(basis: PlanBasis) -> None:
    # Begun as if the board were 1.5 times slower than it is: what fits at first is smaller than it need be.
    looked, _, _ = searched(basis, 0.8, 1.0, begun=1.5)
    right, _, _ = searched(basis, 0.8, 1.0, begun=1.0)
    assert looked.within[0].allocation.harm <= right.within[0].allocation.harm + 1e-9


def test_a_budget_that_nothing_reaches_leaves_nothing_within(basis: PlanBasis) -> None:
    looked, _, _ = searched(basis, 0.01, 1.0, begun=1.0)
    assert looked.plans
    assert not looked.within


def test_plans_that_no_runtime_runs_are_not_within(basis: PlanBasis) -> None:
    limit_ms = 0.7 * unchanged(basis.assembled.problem).latency_ms
    board = FakeBoard(1.0, mute=frozenset({"plan-1"}))
    looked = search(basis, Budget(max_latency_ms=limit_ms), 1.0, board)
    assert looked.plans[0].structure is None
    assert "plan-1" not in {plan.id for plan in looked.within}


def test_what_was_looked_at_for_another_budget_is_not_proposed_again_and_counts(basis: FakeBasis) -> None:
    whole_ms = unchanged(basis.assembled.problem).latency_ms
    board = FakeBoard(1.0)
    first = search(basis, Budget(max_latency_ms=0.7 * whole_ms), 1.0, board)
    then = search(basis, Budget(max_latency_ms=0.8 * whole_ms), first.ratio, board, first)
    assert then.plans[: len(first.plans)] == first.plans
    assert board.asked == list(dict.fromkeys(board.asked)) == [plan.id for plan in then.plans]
    assert {plan.id for plan in first.within} < {plan.id for plan in then.within}


def test_a_size_limit_counts_as_well(basis: PlanBasis) -> None:
    limit_ms = 0.7 * unchanged(basis.assembled.problem).latency_ms

    def heavy(plans: Sequence[TimedPlan]) -> Mapping[str, Structure]:
        return {name: replace(row, size_bytes=10_000) for name, row in FakeBoard(1.0)(plans).items()}

    assert not search(basis, Budget(max_latency_ms=limit_ms, max_size_bytes=9_999), 1.0, heavy).within
    assert search(basis, Budget(max_latency_ms=limit_ms, max_size_bytes=10_000), 1.0, heavy).within


def test_a_plan_that_cannot_be_made_is_told_and_costs_no_other(
    basis: PlanBasis, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_ever = FakeBasis.pruning

    def pruning(self: FakeBasis, allocation: Allocation) -> PrunePlan:
        if not hasattr(pruning, "asked"):
            pruning.asked = True  # type: ignore[attr-defined]
            raise StageError("prune", "two widths in one")
        return as_ever(self, allocation)

    monkeypatch.setattr(FakeBasis, "pruning", pruning)
    looked, _, _ = searched(basis, 0.7, 1.0, begun=1.0)
    assert looked.notes == ("a plan could not be made: two widths in one",)
    assert looked.within


def test_every_plan_within_is_a_network_that_runs(whole: PlanBasis, tmp_path: Path) -> None:
    looked, _, _ = searched(whole, 0.6, 1.0, begun=1.0)
    assert looked.within
    for plan in looked.within[:2]:
        export_onnx(apply_plan(whole.module, EXAMPLE, plan.pruning), EXAMPLE, tmp_path / f"{plan.id}.onnx")
