"""Silence for what runtimes tell of themselves in C++; what they complain of is passed on."""

import os
import sys
import tempfile
from contextlib import contextmanager
from typing import Iterator

STDERR = 2
TALK = b"INFO:"


@contextmanager
def without_talk() -> Iterator[None]:
    """Lines on standard error that begin with INFO: are dropped while the context lasts; others come at its end.

    It is the file descriptor that is watched: Python's sys.stderr is not what C++ writes to.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(STDERR)
    except OSError:  # a service may have closed it
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, STDERR)
            os.close(kept)
            said.seek(0)
            for line in said:
                if not line.startswith(TALK):
                    os.write(STDERR, line)
