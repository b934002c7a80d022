"""The build: the only part that knows every stage."""

from __future__ import annotations

from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.building.run import run_build
from edgekit.progress import Reporter, SilentReporter, Step

__all__ = ["BuildRequest", "Reporter", "SilentReporter", "Step", "TrainOptions", "run_build"]
