"""Container images: a board's runtime with a bundle, cross-built here, measured, and carried to the board.

`plan_image` says what is to be built, `build_image` lets an engine build it. Commands are lists of words, never text
for a shell.
"""

from __future__ import annotations

from edgekit.docker.building import ImageRequest, build_image
from edgekit.docker.device import ContainerDevice
from edgekit.docker.emulation import host_platform
from edgekit.docker.engines import ENGINES, Engine, find_engine
from edgekit.docker.exporting import export_image, push_image
from edgekit.docker.images import L4T_BASES, ImagePlan, plan_image
from edgekit.docker.measuring import bench_image

__all__ = [
    "ENGINES",
    "L4T_BASES",
    "ContainerDevice",
    "Engine",
    "ImagePlan",
    "ImageRequest",
    "bench_image",
    "build_image",
    "export_image",
    "find_engine",
    "host_platform",
    "plan_image",
    "push_image",
]
