"""The cache: every product and every answer is in the store and in the record; the time limit is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.building import cache as cache_module
from edgekit.building import code
from edgekit.building.code import code_digest
from edgekit.building.executor import InProcessExecutor
from edgekit.building.time_limit import TimeLimit
from edgekit.building.worker import ProcessExecutor
from edgekit.errors import StageError, TimeLimitReached
from edgekit.testing.building_fakes import FakeExecutor, FakeTask
from tests.building.parts import count_entries, opened_cache


def made(folder: Path) -> Mapping[str, Any]:
    (folder / "file").write_text("content")
    return {"answer": 1}


def test_a_product_is_made_once_and_recorded_each_time(tmp_path: Path) -> None:
    with opened_cache(tmp_path) as cache:
        for _ in range(2):
            entry = cache.entry("stage", {"part": 1}, made)
            assert (entry.path / "file").read_text() == "content"
        cache.run.finish("done")
        events = cache.store.events(cache.run.id)
    assert [(event.stage, event.reused) for event in events] == [("stage", False), ("stage", True)]


def test_after_the_time_limit_nothing_is_begun_but_what_is_stored_is_taken(tmp_path: Path) -> None:
    with opened_cache(tmp_path) as cache:
        late = replace(cache, time_limit=TimeLimit(1800.0, time.monotonic() - 1.0))
        with pytest.raises(TimeLimitReached, match=r"^the time limit of 30m ended$"):
            late.entry("stage", {}, made)
        assert count_entries(cache) == 0
        assert cache.entry("stage", {}, made).meta == {"answer": 1}
        assert late.entry("stage", {}, made).reused


def test_a_task_that_outlives_the_time_limit_is_ended_by_it(tmp_path: Path) -> None:
    with opened_cache(tmp_path) as cache, closing(ProcessExecutor()) as executor:
        soon = replace(cache, time_limit=TimeLimit(0.5, time.monotonic() + 0.5))
        with pytest.raises(TimeLimitReached, match=r"0\.5s"):
            soon.answer(executor, FakeTask("hang"))
        assert count_entries(cache) == 0
        assert cache.answer(executor, FakeTask("answer", 3))[0] == 3


def test_a_stage_that_fails_within_the_time_limit_has_failed(tmp_path: Path) -> None:
    with opened_cache(tmp_path) as cache:
        early = replace(cache, time_limit=TimeLimit(600.0, time.monotonic() + 600.0))
        with pytest.raises(StageError, match="no range"):
            early.answer(InProcessExecutor(), FakeTask("stage"))


def test_an_answer_comes_from_the_store_the_second_time(tmp_path: Path) -> None:
    waits = []

    @contextmanager
    def meanwhile() -> Iterator[None]:
        waits.append(1)
        yield

    with opened_cache(tmp_path) as cache:
        executor = FakeExecutor()
        for _ in range(2):
            answer, folder = cache.answer(executor, FakeTask("file", 4), meanwhile)
            assert answer == 4
            assert (folder / "made").read_text() == "4"
    assert executor.stages == ["fake"]
    assert waits == [1]


def test_a_task_that_fails_leaves_nothing_in_the_store(tmp_path: Path) -> None:
    with opened_cache(tmp_path) as cache:
        with pytest.raises(StageError, match="AssertionError"):
            cache.answer(InProcessExecutor(), FakeTask("assert"))
        assert count_entries(cache) == 0


def test_another_edition_of_our_code_makes_its_products_anew_but_trains_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened_cache(tmp_path) as cache:
        for stage in ("export", "pruned"):
            cache.entry(stage, {}, made)
        monkeypatch.setattr(cache_module, "code_digest", lambda: "of another edition")
        assert not cache.entry("export", {}, made).reused
        assert cache.entry("pruned", {}, made).reused


def test_the_digest_of_our_code_holds_every_room_that_makes_or_runs_artifacts() -> None:
    assert len(code_digest()) == 64
    package = Path(cache_module.__file__).parents[1]
    assert all((package / room).is_dir() for room in code.ROOMS)
