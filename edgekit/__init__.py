"""edgekit: from a trained network and a board to the most accurate build that meets a latency budget there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._version import __version__

if TYPE_CHECKING:
    from edgekit.api import build

__all__ = ["__version__", "build"]


def __getattr__(name: str) -> Any:
    # `import edgekit` stays cheap: the build and what it needs are loaded when first asked for.
    if name == "build":
        from edgekit.api import build

        return build
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
