"""Makers of variants: what they throw is theirs alone, and another row of the table is all that another one needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import edgekit
from edgekit.building.executor import EXECUTORS
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.base import (
    MAKERS,
    MadeVariant,
    MakerContext,
    VariantMaker,
    made_by,
    open_makers,
)
from edgekit.errors import DataError, Interrupted, StageError, StoreError, TimeLimitReached, UserError
from edgekit.testing.building_fakes import FakeError, FakeExecutor
from edgekit.testing.onnx_networks import residual_network, samples
from edgekit.types import Failure, Rejection
from tests.building.variants.contexts import maker_context


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MakerContext]:
    with maker_context(tmp_path / "store") as made:
        yield made


class FakeThrower:
    """Yields a rejection and then throws; or throws at once, when asked why not."""

    def __init__(self, error: BaseException, *, at_once: bool = False) -> None:
        self._error, self._at_once = error, at_once

    def why_not(self, context: MakerContext) -> Rejection | None:
        if self._at_once:
            raise self._error
        return None

    def make(self, context: MakerContext) -> Iterator[MadeVariant | Rejection | Failure]:
        yield Rejection("first", "it was too easy")
        raise self._error


class FakeUnwilling(FakeThrower):
    """Is not tried."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        return Rejection("unwilling", "not today")


@pytest.mark.parametrize(
    ("error", "stage", "cause"),
    [
        (AssertionError("widths differ"), "variant", "AssertionError: widths differ"),
        (FakeError("no such group"), "variant", "FakeError: no such group"),
        (SystemExit("gave up"), "variant", "SystemExit: gave up"),
        (KeyError("conv1"), "variant", "KeyError: 'conv1'"),
        (StageError("prune", "nothing to prune", "--no-prune"), "prune", "nothing to prune"),
    ],
)
def test_what_a_maker_throws_is_its_failure_and_what_it_gave_before_stands(
    context: MakerContext, tmp_path: Path, error: BaseException, stage: str, cause: str
) -> None:
    rejection, failure = made_by("fake", FakeThrower(error), context, tmp_path / "log")
    assert isinstance(rejection, Rejection)
    assert isinstance(failure, Failure)
    assert (failure.candidate, failure.stage, failure.cause) == ("fake", stage, cause)
    (failure,) = made_by("fake", FakeThrower(error, at_once=True), context, tmp_path / "log")
    assert isinstance(failure, Failure)
    assert isinstance(error, StageError) or "Traceback" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "error",
    [UserError("bad"), DataError("worse"), Interrupted("late"), StoreError("full"), KeyboardInterrupt()],
)
def test_what_ends_a_build_ends_it(context: MakerContext, tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        list(made_by("fake", FakeThrower(error), context, tmp_path / "log"))


def test_what_the_time_limit_leaves_no_room_for_is_a_rejection(context: MakerContext, tmp_path: Path) -> None:
    limited = replace(context, time_limit=TimeLimit(1800.0, 0.0))
    thrower = FakeThrower(TimeLimitReached("in the middle"))
    first, undone = made_by("fake", thrower, limited, tmp_path / "log")
    assert first == Rejection("first", "it was too easy")
    assert isinstance(undone, Rejection)
    assert (undone.what, undone.reason) == ("fake", "not tried: the time limit of 30m ended")


def test_a_maker_with_a_reason_not_to_is_not_asked_to_make(context: MakerContext, tmp_path: Path) -> None:
    maker: VariantMaker = FakeUnwilling(FakeError("never"))
    assert list(made_by("fake", maker, context, tmp_path / "log")) == [Rejection("unwilling", "not today")]


def test_what_is_asked_for_by_name_is_made_before_what_edgekit_thinks_of(context: MakerContext) -> None:
    request = context.request
    named = ["shallow", "student", "low-rank"]
    assert [name for name, _ in open_makers(request)] == [*named, "pruned", "qat", "sparse"]
    planned = replace(request, latency_table="auto")
    assert [name for name, _ in open_makers(planned)] == [*named, "planned", "qat", "sparse"]


def test_a_row_more_in_each_table_is_all_that_a_maker_and_an_executor_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAKERS, "zeroed", ("edgekit.testing.building_fakes", "FakeMaker"))
    monkeypatch.setitem(EXECUTORS, "fake", ("edgekit.testing.building_fakes", "FakeExecutor"))
    ran: list[str] = []
    run = FakeExecutor.run
    monkeypatch.setattr(
        FakeExecutor, "run", lambda self, task, *given: ran.append(task.stage) or run(self, task, *given)
    )
    result = edgekit.build(
        target="raspberry-pi-4",
        model=str(residual_network(tmp_path / "net.onnx")),
        data=(samples(200), None),
        max_latency_ms=50.0,
        max_drop="100%",
        backends=("onnxruntime",),
        precisions=("fp32",),
        executor="fake",
        timed_s=0.3,
        repeat=False,
        out=tmp_path / "out",
        store=tmp_path / "store",
    )
    assert ran.count("lint") == 1
    assert ran.count("export") == 2
    assert [variant.id for variant in result.variants] == ["original", "zeroed"]
    assert result.variants[1].history == ("one channel at zero",)
    drops = {row.variant: row.accuracy.drop for row in result.candidates if row.accuracy}
    assert drops["original"] == 0.0
    assert drops["zeroed"] > 0.0
    assert Rejection("zeroed", "a second channel would not do") in result.rejected
    assert not result.failures
