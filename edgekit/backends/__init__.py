"""The runtimes. `table.py` is the only dispatch; a runtime is imported inside its own backend's methods."""

from __future__ import annotations

from edgekit.backends.table import BACKENDS, get_backend, open_reader, simulated, usable_backends

__all__ = ["BACKENDS", "get_backend", "open_reader", "simulated", "usable_backends"]
