"""An artifact's layers timed in this process, by the code that times them on a board."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.board.layers import layer_rows
from edgekit.types import LayerRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.backends.base import Backend
    from edgekit.types import Artifact, LayerTime

__all__ = ["layer_times"]


def layer_times(
    backend: Backend, artifact: Artifact, feeds: Mapping[str, NDArray[Any]], runs: int
) -> tuple[LayerTime, ...]:
    """Mean time of each layer over `runs` runs, in execution order. Raises StageError where the runtime is not here."""
    with backend.open(artifact):
        pass
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        parts = [
            replace(part, path=str(Path(folder, part.path)), feeds=_placed(part.feeds, folder))
            for part in backend.layer_parts(artifact, feeds, Path(folder))
        ]
        path = Path(artifact.folder) / artifact.entry
        rows = layer_rows(
            artifact.backend, str(path), artifact.options, 1, feeds, runs, [asdict(part) for part in parts]
        )
    return backend.read_layers(artifact, [LayerRow(**row) for row in rows])


def _placed(feeds: Mapping[str, str], folder: str) -> dict[str, str]:
    return {name: str(Path(folder, file)) for name, file in feeds.items()}
