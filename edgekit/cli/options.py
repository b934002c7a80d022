"""Options that commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit.errors import DataError, UserError
from edgekit.types import Preprocess

__all__ = [
    "device_option",
    "input_shape_option",
    "parse_cpus",
    "preprocess_options",
    "read_preprocess",
    "read_words",
    "weights_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def parse_cpus(text: str, available: Sequence[int]) -> tuple[int, ...]:
    """CPU numbers from '0', '0,2' or '0-3'; () for 'none'. Raises UserError on others than `available`."""
    allowed = f"none, or of {','.join(str(cpu) for cpu in available)}, as 0 or 0,1 or 0-1"
    if text.strip() == "none":
        return ()
    cpus: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        if match is None or len(match[0]) > 12:
            raise UserError(f"--cpus {text!r}", allowed=allowed)
        first, last = int(match[1]), int(match[2] or match[1])
        if first not in available or last not in available or last < first:
            raise UserError(f"--cpus {text!r}", allowed=allowed)
        cpus.extend(range(first, last + 1))
    return tuple(sorted(set(cpus) & set(available)))


def _read_pixels(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> int | tuple[int, int] | None:
    """'224' → 224, '640x480' → (640, 480): width and height."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", text.strip())
    if match is None:
        raise click.BadParameter(f"{text}; allowed: pixels, as 224, or width x height, as 640x480")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


device_option = click.option(
    "--device",
    metavar="DEVICE",
    default="local",
    show_default=True,
    help="The board that measures: ssh://user@host[:port], or a name of `edgekit device list`.",
)
"""Where measurements are taken."""


def preprocess_options(command: Command) -> Command:
    """Add the options of preprocessing; the command hands its options to `read_preprocess`."""
    for option in reversed(
        (
            click.option(
                "--input-layout",
                type=click.Choice(["nhwc", "nchw", "as-is"], case_sensitive=False),
                help="Layout of the stored samples.  [default: as-is]",
            ),
            click.option("--scale", metavar="NUMBER", help="Divide samples by this, as 255.  [default: 1]"),
            click.option("--mean", metavar="A,B,C", help="Subtract after scaling: one per channel, or one."),
            click.option("--std", metavar="A,B,C", help="Divide after that: one per channel, or one."),
            click.option(
                "--resize",
                callback=_read_pixels,
                help="Shorter side in pixels, or width x height as 640x480; bilinear, smoothed when it shrinks.",
            ),
            click.option(
                "--letterbox",
                is_flag=False,
                flag_value=114,
                type=click.IntRange(0, 255),
                metavar="[VALUE]",
                help="Keep proportions in --resize WxH and fill the rest with a stored value.  [without one: 114]",
            ),
            click.option(
                "--crop", callback=_read_pixels, help="Centred, in pixels: a square, or as 320x240."
            ),
            click.option(
                "--channels",
                type=click.Choice(["rgb", "bgr", "grey"], case_sensitive=False),
                help="What the network takes, of samples stored as RGB or grey.  [default: as stored]",
            ),
            click.option(
                "--preprocess",
                type=click.Path(path_type=Path),
                help="A TOML file with these keys; options given beside it win.",
            ),
        )
    ):
        command = option(command)
    return command


def weights_options(command: Command) -> Command:
    """Add `--weights` and the two that say what of the file is meant; "" where they are not given."""
    for option in reversed(
        (
            click.option(
                "--weights", type=click.Path(path_type=Path), help=".safetensors or .pt for a factory."
            ),
            click.option(
                "--weights-prefix",
                default="",
                metavar="PREFIX",
                help="Take only the weights whose names begin so, without it, as student.",
            ),
            click.option(
                "--weights-key",
                default="",
                metavar="KEY",
                help="Where they lie in a file that holds several, as ema or model.state_dict.",
            ),
        )
    ):
        command = option(command)
    return command


def input_shape_option(command: Command) -> Command:
    """Add `--input-shape`, which comes to the command as `input_shapes`, read."""
    from edgekit.quantities import parse_input_shape

    def read(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> object:
        return tuple(parse_input_shape(text) for text in texts)

    return click.option(
        "--input-shape",
        "input_shapes",
        multiple=True,
        metavar="[NAME=]SHAPE",
        callback=read,
        help="Of an input whose sizes are open, as x=1x3x320x320; without the name if there is one input only.",
    )(command)


def read_preprocess(options: Mapping[str, Any]) -> Preprocess:
    """Preprocessing from a command's options: the file's, with single options over it. Raises DataError."""
    start = Preprocess()
    if options.get("preprocess") is not None:
        from edgekit.data import load_preprocess

        start = load_preprocess(options["preprocess"])
    given: dict[str, Any] = {
        key: options[key]
        for key in ("input_layout", "resize", "crop", "channels", "letterbox")
        if options.get(key) is not None
    }
    for key in ("mean", "std"):
        if options.get(key) is not None:
            given[key] = _floats(f"--{key}", options[key])
    if options.get("scale") is not None:
        given["scale"] = _divisor(options["scale"])
    if given.get("scale", 1.0) == 0 or 0.0 in given.get("std", ()):
        raise DataError("a divisor of 0 in --scale or --std", allowed="numbers other than 0")
    merged = replace(start, **given)
    lengths = {len(values) for values in (merged.mean, merged.std) if len(values) > 1}
    if len(lengths) > 1:
        came = f"--mean has {len(merged.mean)} values, --std {len(merged.std)}"
        raise DataError(came, allowed="one per channel, or one")
    return merged


def _divisor(text: str) -> float:
    try:
        (scale,) = _floats("--scale", text)
    except (DataError, ValueError):
        allowed = "one number that samples are divided by: 255 makes 0 to 1 of pixels"
        raise DataError(f"--scale {text!r}", allowed=allowed) from None
    return scale


def _floats(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(math.isfinite(value) for value in values):
        raise DataError(f"{option} {text!r}", allowed="numbers separated by commas, as 0.485,0.456,0.406")
    return values


def read_words(option: str, text: str | None) -> tuple[str, ...]:
    """A command as its words, quoted as in a shell; it is run without one. Raises UserError for an open quote."""
    import shlex

    try:
        words = tuple(shlex.split(text or ""))
    except ValueError as problem:
        raise UserError(f"{option} {text!r}: {problem}", allowed="a command and its words") from problem
    if text is not None and not words:
        raise UserError(f"{option} is empty", allowed="a command and its words")
    return words
