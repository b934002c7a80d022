"""The backends, one per row of `runtimes.py`; a runtime is imported inside its own backend's methods."""

from __future__ import annotations

from edgekit.backends.table import get_backend, open_reader, simulated, usable_backends

__all__ = ["get_backend", "open_reader", "simulated", "usable_backends"]
