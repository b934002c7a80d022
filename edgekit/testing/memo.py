"""A memo for tests: it keeps all, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

__all__ = ["CountingMemo"]


class CountingMemo:
    """Keeps everything; `made` counts what was made by stage."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self._kept: dict[bytes, bytes] = {}

    def __call__(self, stage: str, parts: Mapping[str, object], make: Callable[[], bytes]) -> bytes:
        key = msgspec.json.encode((stage, parts), order="sorted")
        if key not in self._kept:
            self._kept[key] = make()
            self.made[stage] += 1
        return self._kept[key]
