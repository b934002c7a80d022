"""`--config FILE`: a command's options from a TOML file. Those given on the command line win."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from edgekit.errors import UserError
from edgekit.files import decode_toml

__all__ = ["config_option", "in_effect"]

Command = TypeVar("Command", bound=Callable[..., Any])

NAME = "config"


def config_option(command: Command) -> Command:
    """Add `--config`; the other options of the command then have the file's values as their defaults."""
    return click.option(
        f"--{NAME}",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=take_defaults,
        help="A TOML file of these options; those given beside it win.",
    )(command)


def take_defaults(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """The file's values become the defaults of the command that is about to run. Raises UserError."""
    if path is not None and not context.resilient_parsing:
        context.default_map = read_config(path, context)


def in_effect(context: click.Context, given: tuple[str, ...]) -> tuple[str, ...]:
    """The command line `given`; with a config file the one that says the same without it."""
    if context.get_parameter_source(NAME) != ParameterSource.COMMANDLINE:
        return given
    words = [context.info_name or ""]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name == NAME or source not in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP):
            continue
        value = context.params.get(parameter.name or "")
        if not isinstance(value, bool):
            for part in (
                value if isinstance(value, tuple) else (value,)
            ):  # an option that may be given several times
                words += [parameter.opts[0], str(part)]
        elif value or parameter.secondary_opts:
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
    return tuple(words)


def read_config(path: Path, context: click.Context) -> dict[str, Any]:
    """Parameter → value, each checked as if it had been given as an option. Raises UserError with one line."""
    options = {
        name.removeprefix("--"): (parameter, is_no)
        for parameter in context.command.params
        for is_no, names in ((False, parameter.opts), (True, parameter.secondary_opts))
        for name in names
        if name.startswith("--") and parameter.name not in (NAME, "help")
    }
    values: dict[str, Any] = {}
    for key, value in decode_toml(path, f"--config {path}", UserError).items():
        name = key.replace("_", "-")
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1, cutoff=0.4)
            remedy = f"did you mean {near[0]}?" if near else "`edgekit build --help` lists them"
            raise UserError(f'{path}: no option "{key:.80}"', remedy=remedy)
        parameter, is_no = options[name]
        if parameter.name in values:
            raise UserError(f"{path}: {key} is there twice", allowed="each option once")
        text = as_option(path, key, value, parameter)
        if getattr(parameter, "multiple", False):
            text = tuple(str(part) for part in (value if isinstance(value, list) else [value]))
        values[parameter.name or ""] = not text if is_no else text
        try:
            parameter.process_value(context, values[parameter.name or ""])
        except click.BadParameter as error:
            raise UserError(f"{path}: {key} = {value!r:.80}: {error.message}") from error
    return values


def as_option(path: Path, key: str, value: object, parameter: click.Parameter) -> Any:
    """The value as the option takes it. Raises UserError for one of another type."""
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    kind = parameter.type
    came = f"{path}: {key} = {value!r:.80}"
    if flag:
        if not isinstance(value, bool):
            raise UserError(came, allowed="true or false")
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(came, allowed="finite numbers")
    if isinstance(kind, click.types.IntParamType):
        if isinstance(value, bool) or not isinstance(value, int):
            raise UserError(came, allowed="a whole number")
        return value
    if isinstance(kind, click.types.FloatParamType):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(came, allowed="a number")
        return value
    if isinstance(value, str):
        return value
    if not isinstance(kind, click.types.StringParamType):
        raise UserError(came, allowed="text in quotes")
    parts = value if isinstance(value, list) else [value]
    if not parts or any(isinstance(part, bool) or not isinstance(part, str | int | float) for part in parts):
        raise UserError(came, allowed="text, a number, or a list of these")
    if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
        raise UserError(came, allowed="finite numbers")
    return ",".join(part if isinstance(part, str) else f"{Decimal(str(part)):f}" for part in parts)
