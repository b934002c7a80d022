"""Who tells what a command is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekit.progress import Reporter

__all__ = ["reporter_of", "reporting_options"]


def reporting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--quiet and --verbose, as `reporter_of` reads them."""
    verbose = click.option("--verbose", is_flag=True, help="Every detail, and what libraries say.")
    quiet = click.option("--quiet", is_flag=True, help="Nothing but the result.")
    return quiet(verbose(command))


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
