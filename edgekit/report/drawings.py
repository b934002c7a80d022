"""Drawings kept from one page to the next: they take most of a page's time, and a rerun draws the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import OutputError, StoreError
from edgekit.files import sha256_file
from edgekit.result import Result
from edgekit.store import Store

__all__ = ["KeepDrawings", "drawn_now", "stored_drawings"]

KeepDrawings = Callable[[Result, Callable[[], Mapping[str, str]]], Mapping[str, str]]
"""(result, what draws it) → SVG by plot."""

UNDRAWN = ("run", "environment", "warnings")
"""Parts of a result that no plot shows; they differ from run to run."""


def drawn_now(_: Result, draw: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    """Drawn, and not kept."""
    return draw()


def stored_drawings(folder: Path) -> KeepDrawings:
    """Kept in the store in that folder; drawn where that cannot be used."""

    def kept(result: Result, draw: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
        def make(place: Path) -> Mapping[str, Any]:
            (place / "drawings.json").write_bytes(msgspec.json.encode(draw()))
            return {}

        with suppress(StoreError, OutputError), closing(Store.open(folder)) as store:
            entry = store.entry("drawings", _parts(result), make)
            return msgspec.json.decode((entry.path / "drawings.json").read_bytes(), type=dict[str, str])
        return draw()

    return kept


def _parts(result: Result) -> dict[str, str]:
    """All that drawings depend on."""
    shown = {name: value for name, value in msgspec.to_builtins(result).items() if name not in UNDRAWN}
    package = Path(__file__).parents[1]
    places = [
        package.glob("*.py"),
        *((package / room).rglob("*.py") for room in ("choose", "report", "types")),
    ]
    sources = sorted(file for place in places for file in place)
    state = hashlib.sha256("".join(sha256_file(file) for file in sources).encode())
    return {
        "result": hashlib.sha256(msgspec.json.encode(shown)).hexdigest(),
        "report": state.hexdigest(),
        "matplotlib": metadata.version("matplotlib"),
    }
