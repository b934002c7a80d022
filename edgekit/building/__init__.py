"""The build: the only part that knows every stage."""

from __future__ import annotations

from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.building.run import run_build

__all__ = ["BuildRequest", "TrainOptions", "run_build"]
