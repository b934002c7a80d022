"""Running an engine's commands: lines as they come, the last ones where it fails."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence

from edgekit.errors import StageError

__all__ = ["Tell", "follow", "quietly"]

Tell = Callable[[str], None]
"""Called with each line."""

LAST_LINES = 4
GRACE_S = 10
"""Between asking a program to end and ending it. `docker run` only passes the wish on, and may wait for ever."""
TIDYING_S = 60


def follow(
    words: Sequence[str], stage: str, tell: Tell | None = None, timeout_s: float | None = None
) -> None:
    """Run to the end, telling each line of both streams. Raises StageError with the last lines when it fails.

    Ctrl-C ends the program, too, and so does `timeout_s`, which is a failure of its own.
    """
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that all it has started ends with it
    )
    assert process.stdout is not None
    expired = threading.Event()

    def end() -> None:
        expired.set()
        _end(process)

    clock = threading.Timer(timeout_s, end) if timeout_s is not None else None
    try:
        if clock:
            clock.start()
        with process.stdout as lines:
            for line in lines:
                if line.strip():
                    last.append(line.strip())
                    if tell:
                        tell(line.rstrip())
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        if clock:
            clock.cancel()
    if expired.is_set():
        raise StageError(stage, f"{words[0]} {words[1]} had not ended after {timeout_s:g} s")
    if code != 0:
        raise StageError(stage, f"{words[0]} {words[1]} ended with exit code {code}: {' / '.join(last)}")


def _end(process: subprocess.Popen[str]) -> None:
    """The program and what it has started: asked first, then made to."""
    for wish in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.killpg(process.pid, wish)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def quietly(words: Sequence[str]) -> None:
    """Run something whose failure does no harm: tidying."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(words, capture_output=True, timeout=TIDYING_S, check=False)
