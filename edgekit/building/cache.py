"""Products of a build by what they depend on: from the store, or made now; either way the run's record has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.building.executor import Executor, Task
from edgekit.errors import Interrupted
from edgekit.store import Run, Store, StoreEntry

__all__ = ["Cache", "TimeLimit"]

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class TimeLimit:
    """`limit_s` for the whole build, over at `ends` on time.monotonic()'s clock. `store`: where the rest goes on."""

    limit_s: float
    ends: float
    store: Path

    def check(self) -> None:
        """Raises Interrupted once the time is over."""
        if time.monotonic() > self.ends:
            raise Interrupted(
                f"the time limit of {self.limit_s:.0f} s has passed; "
                f"everything finished is in {self.store}: the same command goes on from there"
            )


@dataclass(frozen=True)
class Cache:
    """The store and the record of this run. With a `time_limit` no product is begun, nor taken, after it."""

    store: Store
    run: Run
    time_limit: TimeLimit | None = None

    def entry(
        self, stage: str, parts: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
    ) -> StoreEntry:
        """The product of a stage; see Store.entry. Raises Interrupted after the time limit, and what `make` does."""
        if self.time_limit is not None:
            self.time_limit.check()
        started = time.monotonic()
        entry = self.store.entry(stage, parts, make)
        self.run.event(stage, entry.key, reused=entry.reused, seconds=time.monotonic() - started)
        return entry

    def answer(
        self,
        executor: Executor,
        task: Task[Answer],
        meanwhile: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> tuple[Answer, Path]:
        """A task's answer and the folder of its files; `meanwhile` is entered while it is not in the store but run.

        Raises StageError as Executor.run does.
        """

        def make(folder: Path) -> Mapping[str, Any]:
            with meanwhile():
                return {"answer": msgspec.to_builtins(executor.run(task, folder))}

        entry = self.entry(task.stage, task.key_parts(), make)
        answer: Answer = msgspec.convert(entry.meta["answer"], task.answer_type)
        return answer, entry.path
