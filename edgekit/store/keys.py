"""From what a stage depends on to the name of its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["STORE_VERSION", "canonical_json", "check_key", "entry_key", "plain"]

STORE_VERSION = 1
"""Part of every key: raise it when the layout of entries changes, and older ones are not found again."""


def plain(value: object) -> Any:
    """The value as JSON has it; dataclasses and Structs become dicts.

    Raises TypeError for what JSON cannot hold, keys that are not strings, and numbers that are not finite.
    """
    import msgspec

    built = msgspec.to_builtins(value, order="sorted")
    _refuse_lossy(built)
    return json.loads(json.dumps(built, allow_nan=False))


def _refuse_lossy(value: object) -> None:
    """JSON would turn key 1 into "1" and NaN into something that no reader takes."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not a string")
            _refuse_lossy(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_lossy(item)
    elif isinstance(value, float) and (value != value or abs(value) == float("inf")):
        raise TypeError(f"{value} has no place in JSON")


def canonical_json(value: object) -> bytes:
    """One text for one value: sorted keys, no spaces, ASCII only. Raises TypeError as `plain` does."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def entry_key(stage: str, parts: Mapping[str, object]) -> str:
    """SHA-256 (64 hex digits) over the stage's name, its parts and the store's version."""
    return hashlib.sha256(canonical_json([STORE_VERSION, stage, dict(parts)])).hexdigest()


def check_key(key: str) -> str:
    """The key itself. Raises ValueError for what cannot be one: keys become folder names."""
    if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
        raise ValueError(f"{key!r} is not a key: 64 hexadecimal digits")
    return key
