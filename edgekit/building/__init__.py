"""The build: the only part that knows every stage."""

from __future__ import annotations

from edgekit.building.reporter import Reporter, SilentReporter, Step
from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.building.run import run_build

__all__ = ["BuildRequest", "Reporter", "SilentReporter", "Step", "TrainOptions", "run_build"]
