"""The build: the only part that knows every stage."""

from __future__ import annotations

from edgekit.building.context import LOG
from edgekit.building.preview import Preview, preview_build
from edgekit.building.request import BuildRequest, TrainOptions, read_blocks
from edgekit.building.run import run_build

__all__ = ["LOG", "BuildRequest", "Preview", "TrainOptions", "preview_build", "read_blocks", "run_build"]
