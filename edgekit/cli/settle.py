"""`edgekit bundle settle`: what a build could only estimate is measured on a board from here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.reporting import reporter_of
from edgekit.errors import BundleError, UserError
from edgekit.quantities import parse_seconds

if TYPE_CHECKING:
    from edgekit.result import Result

__all__ = ["settle_folder", "take_over"]

EXIT_CODES = {"MEETS": 0, "MISSES": 3, "INFEASIBLE": 3, "PROVISIONAL": 4}


def settle_folder(bundle: Path, options: Mapping[str, Any]) -> int:
    """Settle the bundle and tell what came of it. `options`: those of the command. Gives the exit code."""
    from edgekit.building.settling.run import SettleRequest, settle_bundle

    seconds = parse_seconds(options["seconds"])
    if not 0 < seconds <= 3600:
        raise UserError(f"--seconds {options['seconds']}", allowed="above 0 to 3600 s")
    request = SettleRequest(
        bundle=bundle,
        out=where_built(bundle),
        device=options["device"],
        store=options["store"],
        seconds=seconds,
        tune=not options["no_tune"],
        most_threads=options["max_threads"],
    )
    quiet = options["quiet"] or options["as_json"]
    settled = settle_bundle(request, reporter_of({"quiet": quiet, "verbose": False}, request.store))
    if settled.result is not None and request.out is not None:
        show_settled(settled.result, request.out, quiet=quiet)
        verdict = settled.result.verdict
    else:
        verdict = settled.answer["verdict"]
        if not quiet:
            click.echo(f"{verdict}: {settled.answer['winner'] or 'no candidate'}")
            click.echo(f"wrote {bundle / 'settled.json'}; the build's result.json is not beside the bundle")
    if options["as_json"]:
        import json

        click.echo(json.dumps(settled.answer, indent=1))
    return EXIT_CODES[verdict]


def where_built(bundle: Path) -> Path | None:
    """The folder of the build that a bundle is of: that in which it lies as `bundle`, beside result.json."""
    place = bundle.absolute()
    has_result = place.name == "bundle" and (place.parent / "result.json").is_file()
    return bundle.parent if has_result else None


def show_settled(result: Result, out: Path, *, quiet: bool) -> None:
    """Write the page anew and tell the verdict."""
    from edgekit.console import make_console
    from edgekit.report import print_summary, write_report

    written = write_report(result, out / "report.html")
    if not quiet:
        print_summary(result, make_console(), out)
        click.echo(f"wrote {written}")


def take_over(run: Path, file: Path) -> Result:
    """The result of the build in `run` with what settled.json of a board says. Raises BundleError, UserError."""
    from edgekit.building.settling.run import take_settled

    out = run if run.is_dir() else run.parent
    bundle = out / "bundle"
    if not bundle.is_dir():
        raise BundleError(f"{out} holds no bundle", remedy="give the --out folder of the build")
    return take_settled(out, bundle, file)
