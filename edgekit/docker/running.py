"""Running an engine's commands: lines as they come, the last ones where it fails."""

from __future__ import annotations

import collections
import contextlib
import subprocess
from collections.abc import Callable, Sequence

from edgekit.errors import StageError

__all__ = ["Tell", "follow", "quietly"]

Tell = Callable[[str], None]
"""Called with each line."""

LAST_LINES = 4
TIDYING_S = 60


def follow(words: Sequence[str], stage: str, tell: Tell | None = None) -> None:
    """Run to the end, telling each line of both streams. Raises StageError with the last lines when it fails.

    Ctrl-C ends the program, too.
    """
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    try:
        with process.stdout as lines:
            for line in lines:
                if line.strip():
                    last.append(line.strip())
                    if tell:
                        tell(line.rstrip())
        code = process.wait()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        raise
    if code != 0:
        raise StageError(stage, f"{words[0]} {words[1]} ended with exit code {code}: {' / '.join(last)}")


def quietly(words: Sequence[str]) -> None:
    """Run something whose failure does no harm: tidying."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(words, capture_output=True, timeout=TIDYING_S, check=False)
