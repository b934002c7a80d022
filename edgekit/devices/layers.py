"""What a device is asked of an artifact's layers, and what it tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.types import LayerPart, LayerRow

__all__ = ["LayerRequest", "LayersTold", "read_told"]

PARTS = "layer-parts"
"""The folder of parts beside the artifact on the device."""


@dataclass(frozen=True)
class LayerRequest:
    """Means over `runs` runs. `parts` lie in `folder` on this machine: none where the runtime has a profiler."""

    runs: int
    parts: tuple[LayerPart, ...] = ()
    folder: Path | None = None

    def files(self, place: str) -> list[tuple[Path, str]]:
        """Files to push beside an artifact that lies in the device's folder `place`: (local path, name there)."""
        if self.folder is None:
            return []
        named = [name for part in self.parts for name in (part.path, *part.feeds.values())]
        return [(self.folder / name, f"{place}/{PARTS}/{name}") for name in dict.fromkeys(named)]

    def entry(self) -> dict[str, Any]:
        """As a job's entry has it: `board.layers.WANTED`."""
        parts = [
            {
                "path": f"{PARTS}/{part.path}",
                "feeds": {name: f"{PARTS}/{file}" for name, file in part.feeds.items()},
            }
            for part in self.parts
        ]
        return {"runs": self.runs, "parts": parts}


@dataclass(frozen=True)
class LayersTold:
    """Layers as the device's runtime told them, in execution order; `why` there are none, "" where there are."""

    rows: tuple[LayerRow, ...]
    why: str = ""


def read_told(raw: Mapping[str, Any] | None) -> LayersTold | None:
    """Of an entry's result; None where nothing was asked."""
    if raw is None:
        return None
    rows = tuple(LayerRow(row["name"], row["op"], row["mean_ms"], row["facts"]) for row in raw["rows"])
    return LayersTold(rows, raw["why"])
