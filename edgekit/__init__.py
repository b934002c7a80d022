"""edgekit: from a trained network and a board to the most accurate build that meets a latency budget there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._version import __version__

if TYPE_CHECKING:
    from edgekit.api import build, load, preview
    from edgekit.result import load_result

__all__ = ["__version__", "build", "load", "load_result", "preview"]


def __getattr__(name: str) -> Any:
    # `import edgekit` stays cheap: the build and what it needs are loaded when first asked for.
    if name == "load_result":
        from edgekit.result import load_result

        return load_result
    if name in __all__:
        from edgekit import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
