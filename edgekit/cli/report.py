"""`edgekit report`: rebuild the page of a finished build from its result.json."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]

EXAMPLE = """\b
Example:
  edgekit report edgekit-out
  edgekit report edgekit-out/result.json --out page.html
  edgekit report edgekit-out --settled settled.json
"""


@click.command(epilog=EXAMPLE)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option(
    "--settled",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="settled.json that the board wrote: taken over into result.json first.",
)
def report(run: Path, out: Path | None, settled: Path | None) -> None:
    """Rebuild the HTML report of RUN, the output folder of a build or its result.json.

    Without --out it is written as report.html beside result.json.
    """
    from edgekit.console import make_console
    from edgekit.report import print_summary, write_report
    from edgekit.result import load_result

    source = run / "result.json" if run.is_dir() else run
    if settled is not None:
        from edgekit.cli.settle import take_over

        take_over(run, settled)
    result = load_result(source)
    written = write_report(result, out or source.parent / "report.html")
    print_summary(result, make_console())
    click.echo(f"wrote {written}")
