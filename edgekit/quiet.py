"""Silence around libraries that print, log and warn while they work."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

__all__ = ["quiet", "quiet_descriptor"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log lines, nothing printed by Python code on either stream while the context lasts."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def quiet_descriptor(descriptor: int = 1) -> Iterator[None]:
    """What C++ code prints there is dropped too: torch's tracer dumps its graph when it fails."""
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(nowhere)
        os.close(kept)
