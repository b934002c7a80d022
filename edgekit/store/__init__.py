"""Content-addressed results of stages and the record of runs, both in one folder that a rerun reads again."""

from __future__ import annotations

from edgekit.store.claim import is_store
from edgekit.store.content import StoreEntry, meta_of
from edgekit.store.keys import STORE_VERSION, entry_key
from edgekit.store.runs import Run, RunEvent, RunRecord, RunStatus
from edgekit.store.store import Store

__all__ = [
    "STORE_VERSION",
    "Run",
    "RunEvent",
    "RunRecord",
    "RunStatus",
    "Store",
    "StoreEntry",
    "entry_key",
    "is_store",
    "meta_of",
]
