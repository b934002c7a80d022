"""Products of a build by what they depend on: from the store, or made now; either way the run's record has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.building.code import code_digest
from edgekit.building.executor import Executor, Task
from edgekit.building.time_limit import TimeLimit
from edgekit.errors import StageError, TimeLimitReached
from edgekit.store import Run, Store, StoreEntry

__all__ = ["Cache"]

Answer = TypeVar("Answer")

LASTING = frozenset({"pruned", "qat"})
"""Stages whose products outlive an update of edgekit: hours of training."""


@dataclass(frozen=True)
class Cache:
    """The store and the record of this run. With a `time_limit` no product is begun after it; stored ones are taken.

    `took_s`: stage → how long each of its products took to make, in this run or in the one that made it.
    """

    store: Store
    run: Run
    time_limit: TimeLimit | None = None
    took_s: dict[str, list[float]] = field(default_factory=dict)

    def entry(
        self, stage: str, parts: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
    ) -> StoreEntry:
        """The product of a stage; see Store.entry. Raises what `make` does, and TimeLimitReached.

        A stage that fails after the time limit was ended by it: executors and devices keep to what is left.
        """
        if stage not in LASTING:
            parts = {**parts, "code": code_digest()}
        limit = self.time_limit
        if limit is not None and not self.store.holds(stage, parts):
            limit.check()
        started = time.monotonic()
        try:
            entry = self.store.entry(stage, parts, make)
        except StageError as error:
            if limit is not None and limit.left_s() <= 0:
                raise TimeLimitReached(limit.told) from error
            raise
        self.took_s.setdefault(stage, []).append(entry.seconds)
        self.run.event(stage, entry.key, reused=entry.reused, seconds=time.monotonic() - started)
        return entry

    def left_s(self) -> float | None:
        """What the time limit leaves for one piece of work, in seconds; None without a limit."""
        return None if self.time_limit is None else max(0.0, self.time_limit.left_s())

    def holds(self, task: Task[Any]) -> bool:
        """Whether the answer is in the store."""
        return self.store.holds(task.stage, {**task.key_parts(), "code": code_digest()})

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
                return {"answer": msgspec.to_builtins(executor.run(task, folder, self.left_s()))}

        entry = self.entry(task.stage, task.key_parts(), make)
        answer: Answer = msgspec.convert(entry.meta["answer"], task.answer_type)
        return answer, entry.path
