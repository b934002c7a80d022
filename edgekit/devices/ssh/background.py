"""The event loop that all connections of this process share, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

__all__ = ["wait_for"]

T = TypeVar("T")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Made at the first use; its thread ends with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="edgekit-ssh", daemon=True).start()
    return loop


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and give its result, or raise what it raised. Ctrl-C ends the wait and the work."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
