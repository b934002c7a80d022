"""Several boards at once: a build for each, one page, and what one model for all of them would cost."""

from __future__ import annotations

from edgekit.fleet.boards import BoardBuild, build_boards
from edgekit.fleet.common import CommonCost, CommonModel, common_model
from edgekit.fleet.page import BoardRow, FleetResult, summed_up, write_fleet

__all__ = [
    "BoardBuild",
    "BoardRow",
    "CommonCost",
    "CommonModel",
    "FleetResult",
    "build_boards",
    "common_model",
    "summed_up",
    "write_fleet",
]
