"""The command line. Commands are loaded when they are called: `edgekit --help` imports none of them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from edgekit._version import __version__
from edgekit.errors import EdgekitError, Interrupted, UserError

__all__ = ["main"]

# name → (module, attribute, what `edgekit --help` says of it)
COMMANDS = {
    "build": ("edgekit.cli.build", "build", "Find the most accurate build that meets a budget on a board."),
    "targets": ("edgekit.cli.targets", "targets", "List, show, check and probe boards."),
    "device": ("edgekit.cli.device", "device", "Boards over SSH: name, check, set up and clean them."),
    "bench": ("edgekit.cli.bench", "bench", "Measure one model file, here or on a board."),
    "compare": (
        "edgekit.cli.compare",
        "compare",
        "Two artifacts of one network, layer by layer: where they part, and what to try.",
    ),
    "profile": ("edgekit.cli.profile", "profile", "Cost and measured time of each layer, slowest first."),
    "latency": (
        "edgekit.cli.latency",
        "latency",
        "Time single layers on a board, and predict networks from them.",
    ),
    "plan": (
        "edgekit.cli.planning",
        "plan",
        "What would be narrowed and dropped to reach a latency, and why; nothing is trained.",
    ),
    "lint": ("edgekit.cli.lint", "lint", "What a board cannot take of a network, before any work."),
    "report": ("edgekit.cli.report", "report", "Rebuild the HTML report of a finished build."),
    "bundle": ("edgekit.cli.bundle", "bundle", "Verify or show a bundle."),
    "serve": (
        "edgekit.cli.serve",
        "serve",
        "Answer over HTTP by a bundle: arrays, JSON, images; metrics, a page.",
    ),
    "docker": ("edgekit.cli.docker", "docker", "Container images of a board's runtime and a bundle."),
    "doctor": (
        "edgekit.cli.doctor",
        "doctor",
        "Say which runtimes are usable here, and how to get the others.",
    ),
    "help": (
        "edgekit.cli.topics",
        "help_",
        "What your own metric, loss, step, data and model functions are given and give back.",
    ),
}


class LazyGroup(click.Group):
    """A group that knows its commands' one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


EXAMPLE = """\b
Example:
  edgekit build --target generic-cpu --model net.py:make --weights net.safetensors \\
      --data val/ --max-latency 2ms --max-drop 1%
\b
Completion in bash (zsh and fish: edgekit help completion):
  eval "$(_EDGEKIT_COMPLETE=bash_source edgekit)"
"""


@click.group(cls=LazyGroup, epilog=EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekit")
def cli() -> None:
    """From a trained network and a board to the most accurate build that meets a latency budget there."""


def refuse_unwritable_names(arguments: Sequence[str]) -> None:
    """File names that are not UTF-8 cannot stand in a manifest or a result. Raises UserError."""
    for what, name in (("the working folder", os.getcwd()), *(("the argument", text) for text in arguments)):
        if any(
            "\ud800" <= letter <= "\udfff" for letter in name
        ):  # how Python reads bytes that are not UTF-8
            raise UserError(f"{what} {name!r} is not UTF-8", remedy="rename the file or folder")


def main(arguments: list[str] | None = None) -> Any:
    """Entry point.

    Exit codes: 0 done, 1 a broken machine, 2 the user's mistake or a full disk, 3 budget missed, 130 Ctrl-C.
    """
    try:
        given = sys.argv[1:] if arguments is None else arguments
        refuse_unwritable_names(given)
        code = cli.main(args=given, prog_name="edgekit", standalone_mode=False, obj=tuple(given))
    except click.exceptions.Abort:
        click.echo("edgekit: stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        from edgekit.cli.hints import hint_for, without_misleading

        hint = hint_for(error, given)
        without_misleading(error).show()
        if hint:
            click.echo(f"edgekit: {hint}", err=True)
        sys.exit(error.exit_code)
    except UserError as error:
        click.echo(f"edgekit: {error}", err=True)
        sys.exit(2)
    except Interrupted as error:
        click.echo(f"edgekit: {error}", err=True)
        sys.exit(130)
    except EdgekitError as error:
        click.echo(f"edgekit: {error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
