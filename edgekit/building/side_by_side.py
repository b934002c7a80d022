"""Calls that run at the same time, as many as an executor has slots for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from edgekit.building.executor import Executor
from edgekit.errors import StageError, TimeLimitReached

__all__ = ["side_by_side"]

Key = TypeVar("Key")
Product = TypeVar("Product")

MOST = 256
"""Threads; each waits for one task."""


def side_by_side(
    executor: Executor, calls: Mapping[Key, Callable[[], Product]]
) -> dict[Key, Product | StageError | TimeLimitReached]:
    """What each call gives, by its name, or the failure that it ended with.

    Anything else that one raises, and Ctrl-C, ends the executor with all that is running there, and is raised.
    """

    def caught(call: Callable[[], Product]) -> Product | StageError | TimeLimitReached:
        try:
            return call()
        except (StageError, TimeLimitReached) as failure:
            return failure

    pool = ThreadPoolExecutor(min(len(calls), executor.slots, MOST))
    futures = {name: pool.submit(caught, call) for name, call in calls.items()}
    try:
        for future in wait(futures.values(), return_when=FIRST_EXCEPTION).done:
            future.result()
        return {name: future.result() for name, future in futures.items()}
    except BaseException:
        for future in futures.values():
            future.cancel()
        executor.close()
        raise
    finally:
        pool.shutdown()
