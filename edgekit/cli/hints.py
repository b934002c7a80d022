"""What is likely meant where a command line does not hold: a line more than click has."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import PurePath

import click

__all__ = ["hint_for", "without_misleading"]

MEANT = {
    "--onnx": "--model FILE.onnx",
    "--network": "--model",
    "--board": "--target",
    "--hardware": "--target",
    "--images": "--data FOLDER",
    "--dataset": "--data",
    "--calibration": "--data, of which a part is set aside for calibration",
    "--calibration-data": "--data, of which a part is set aside for calibration",
    "--calib": "--data, of which a part is set aside for calibration",
    "--latency": "--max-latency",
    "--budget": "--max-latency",
    "--accuracy-drop": "--max-drop",
    "--imgsz": "--resize 640x640 for the images, --input-shape 1x3x640x640 for sizes that the network leaves open",
    "--input-size": "--resize 640x640 for the images, --input-shape 1x3x640x640 for sizes that the network leaves open",
    "--size": "--resize 640x640 for the images, --input-shape 1x3x640x640 for sizes that the network leaves open",
    "--int8": "--precision int8",
    "--fp16": "--precision fp16",
    "--half": "--precision fp16",
    "--bgr": "--channels bgr",
    "--nhwc": "--input-layout nhwc",
    "--normalize": "--scale 255 --mean .485,.456,.406 --std .229,.224,.225",
    "--output": "--out",
}
"""What other tools call it → how it is given here."""

ELSEWHERE = {
    (
        "bench",
        "--target",
    ): "bench measures on this machine; for a board that is not here: edgekit build --target",
    (
        "profile",
        "--target",
    ): "profile measures on this machine; for a board that is not here: edgekit build --target",
}

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
UNIT = re.compile("ns|us|µs|ms|s|kB|MB|GB|%", re.IGNORECASE)


def hint_for(error: click.ClickException, arguments: Sequence[str]) -> str:
    """One line, or nothing. `arguments`: the whole command line, without the program."""
    if isinstance(error, click.NoSuchOption):
        return _of_option(error)
    if isinstance(error, click.MissingParameter):
        return _of_missing(error, arguments)
    extra = re.search(r"unexpected extra arguments? \((.*)\)", error.format_message(), re.DOTALL)
    return _of_extra(extra[1].split(" "), arguments) if extra else ""


def without_misleading(error: click.ClickException) -> click.ClickException:
    """The error as it is shown: no near name beside a hint, and of many extra arguments the first ones."""
    if isinstance(error, click.NoSuchOption) and _of_option(error):
        return click.NoSuchOption(error.option_name, ctx=error.ctx)
    if isinstance(error, click.UsageError) and "unexpected extra arguments" in error.message:
        message = re.sub(
            r"\((\S+ \S+ \S+) .*\)$", lambda many: f"({many[1]} ...)", error.message, flags=re.DOTALL
        )
        return click.UsageError(message, ctx=error.ctx)
    return error


def _of_option(error: click.NoSuchOption) -> str:
    command = (error.ctx.info_name if error.ctx is not None else "") or ""
    elsewhere = ELSEWHERE.get((command, error.option_name))
    if elsewhere:
        return elsewhere
    meant = MEANT.get(error.option_name, "")
    options = {
        name for parameter in (error.ctx.command.params if error.ctx else ()) for name in parameter.opts
    }
    return f"did you mean {meant}?" if meant and re.split("[ ,]", meant)[0] in options else ""


def _of_missing(error: click.MissingParameter, arguments: Sequence[str]) -> str:
    named = error.param.opts if error.param is not None else []
    given = [after for before, after in itertools.pairwise(arguments) if before == "--weights"]
    given += [text.partition("=")[2] for text in arguments if text.startswith("--weights=")]
    if "--model" in named and any(text.endswith((".onnx", ".pt2")) for text in given):
        return f"{given[0]} has its own weights; did you mean --model {given[0]}?"
    if "--model" in named and given:
        return "--weights are loaded into a network that --model makes: --model net.py:factory"
    if "--target" in named:
        return "`edgekit targets` lists the boards"
    return ""


def _of_extra(extra: Sequence[str], arguments: Sequence[str]) -> str:
    if UNIT.fullmatch(extra[0]) and extra[0] in arguments[1:]:
        number = arguments[arguments.index(extra[0]) - 1]
        return f"write a number and its unit without a blank: {number}{extra[0]}"
    if any(PurePath(name).suffix.lower() in PICTURES for name in extra):
        folder = PurePath(extra[0]).parent
        return f"--data takes the folder, not the files in it: --data {folder}"
    return ""
