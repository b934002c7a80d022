"""A spinner for commands that take a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["spinner"]


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Turn on standard error while a terminal watches."""
    if not sys.stderr.isatty():
        yield
        return
    from edgekit.console import make_console

    with make_console(stderr=True).status(text):
        yield
