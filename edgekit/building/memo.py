"""The store as the memo of quantization plans: what a plan takes long to measure is a stage of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.building.code import code_digest

if TYPE_CHECKING:
    from edgekit.quantize import Memo
    from edgekit.store import Store

__all__ = ["store_memo"]

FILE = "value.json"


def store_memo(folder: Path) -> Memo:
    """See `edgekit.quantize.planning.Memo`; results are entries of the store in `folder`. Raises StoreError."""
    store = _opened(folder)

    def recall(stage: str, parts: Mapping[str, object], make: Callable[[], bytes]) -> bytes:
        def write(private: Path) -> Mapping[str, Any]:
            (private / FILE).write_bytes(make())
            return {}

        return (store.entry(stage, {**parts, "code": code_digest()}, write).path / FILE).read_bytes()

    return recall


@lru_cache(maxsize=1)
def _opened(folder: Path) -> Store:
    """One store for the life of the worker's process."""
    from edgekit.store import Store

    return Store.open(folder)
