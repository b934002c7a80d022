"""Who tells what a command is doing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.progress import Reporter

__all__ = ["reporter_of"]


def reporter_of(options: Mapping[str, Any], store: Path) -> Reporter:
    """Who tells what is being done, as much as is asked for."""
    if options["quiet"]:
        from edgekit.progress import SilentReporter

        return SilentReporter()
    from edgekit.report.progress import RichReporter

    if options["verbose"]:
        from edgekit.building.context import LOG

        return RichReporter(store / LOG)
    return RichReporter()
