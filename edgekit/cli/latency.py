"""`edgekit latency`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.board.tuning import THREADED
from edgekit.cli.latency_text import print_time, tell_table, time_json
from edgekit.cli.options import device_option, input_shape_option, weights_options
from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.devices.base import JobProgress
    from edgekit.hardware import Target
    from edgekit.latency import LatencyTable

__all__ = ["latency"]

EPILOG = """\b
Examples:
  edgekit latency measure --model net.py:make --input-shape 1x3x32x32 --backend litert --table pi.json \\
      --device ssh://pi@10.0.0.5
  edgekit latency show --table pi.json
  edgekit latency predict --table pi.json --model narrow.onnx
"""


@click.group(epilog=EPILOG)
def latency() -> None:
    """How long each layer takes on a board, and from that how long a network takes before it is built.

    A table holds times of single layers, as the runtime fuses them, at many widths; it serves every network that has
    such layers. It is one file and may be shared; another device, runtime version or number of threads is refused.
    """


def _model_options(command: Any) -> Any:
    """Which network, in which runtime and precision."""
    for option in reversed(
        (
            click.option(
                "--model", required=True, help="file.py:factory, package.module:factory, .pt2 or .onnx."
            ),
            weights_options,
            input_shape_option,
            click.option("--backend", type=click.Choice(THREADED), default=THREADED[0], show_default=True),
            click.option(
                "--precision", type=click.Choice(["fp32", "int8"]), default="int8", show_default=True
            ),
            click.option("--threads", type=click.IntRange(1), default=1, show_default=True),
            click.option("--target", default="generic-cpu", show_default=True, help="Which board it is."),
        )
    ):
        command = option(command)
    return command


@latency.command(
    epilog="\b\nExample:\n  edgekit latency measure --model net.py:make --input-shape 1x3x32x32 --table pi.json"
)
@_model_options
@device_option
@click.option("--table", type=click.Path(path_type=Path), help="The file.  [default: one in edgekit's cache]")
@click.option(
    "--networks",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="Whole networks of random widths that sums are corrected by; of a torch module only. 0, or 3 and more.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Instead: this very network's layers in float and in int8, and what it costs to go from one to the other.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random widths.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def measure(**options: Any) -> int:
    """Measure what a table lacks for every width that a pruned child of this network may have.

    What was measured before is not measured again; what was measured is kept when the command is stopped. With --mixed
    it is what a build chooses layers in float by, where INT8 loses too much.
    """
    from edgekit.cli.latency_networks import corrected, merged_units, prunable_network, with_fewer_heads
    from edgekit.devices import check_device, make_device
    from edgekit.hardware import find_target
    from edgekit.latency import open_table, save_table, units_of
    from edgekit.latency.measuring import TimingOptions, describe_device, measure_exactly, measure_units
    from edgekit.latency.onnx_layers import Integers
    from edgekit.latency.precisions import precision_graph
    from edgekit.latency.stored import default_table_path

    if options["networks"] in (1, 2):
        raise UserError(f"--networks {options['networks']}", allowed="0, or 3 and more")
    check_device(options["device"])
    target = find_target(options["target"])
    with tempfile.TemporaryDirectory(prefix="edgekit-latency-") as folder, _bar() as progress:
        scratch = Path(folder)
        device = make_device(options["device"], scratch / "work")
        measured_on = describe_device(device, options["backend"], options["threads"])
        path = options["table"] or default_table_path(measured_on)
        table = open_table(path, measured_on)
        onnx = _onnx(options, scratch / "network.onnx")
        network = units_of(onnx, options["backend"], options["precision"])
        timing = TimingOptions(threads=options["threads"], seed=options["seed"])
        if options["precision"] == "int8" or options["mixed"]:
            rule = target.int8_rule(frozenset(measured_on.features))
            timing = TimingOptions(
                threads=options["threads"],
                seed=options["seed"],
                integers=Integers(rule.activation, rule.weight),
            )
        known = len(table.timed)
        children = None if options["mixed"] else prunable_network(options)
        if options["mixed"]:
            table = measure_exactly(
                device, table, precision_graph(onnx, options["backend"]).wanted(), timing,
                progress=progress, keep=lambda now: save_table(now, path),
            )  # fmt: skip
        else:
            wanted = [*network.to_measure]
            if children is not None:
                for wide in with_fewer_heads(children, scratch) if options["networks"] else ():
                    wanted += units_of(wide, options["backend"], options["precision"]).to_measure
                wanted += merged_units(children, options, scratch)
            table = measure_units(
                device, table, wanted, timing, progress=progress, keep=lambda now: save_table(now, path)
            )
        told = [f"{len(table.timed) - known} points measured, {known} were known"]
        if network.unmeasured:
            told.append(f"not in the table: {', '.join(network.unmeasured)}")
        if options["networks"] and not options["mixed"]:
            if children is None:
                told.append("not corrected: an ONNX file cannot be pruned; give the torch module")
            else:
                table, said = corrected(children, device, table, options, timing, target, scratch, progress)
                told.append(said)
                save_table(table, path)
    tell_table(table, path, told, as_json=options["as_json"])
    return 0


@latency.command(epilog="\b\nExample:\n  edgekit latency show --table pi.json")
@click.option("--table", type=click.Path(path_type=Path), required=True, help="The file.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(table: Path, as_json: bool) -> int:
    """What a table holds: the device, the kinds of layers with their widths, and how far its sums were off."""
    from edgekit.latency import load_table

    tell_table(load_table(table), table, [], as_json=as_json)
    return 0


@latency.command(
    epilog="\b\nExample:\n  edgekit latency predict --table pi.json --model narrow.onnx --precision int8"
)
@_model_options
@click.option("--device", help="Refuse a table that was not measured on this one.  [default: any]")
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="The file.  [default: none, a roofline of --target, which is PROVISIONAL]",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def predict(**options: Any) -> int:
    """The time of a network before it is built, with its interval, and of each of its layers.

    A layer whose widths lie outside of the table is named, and the network then has no time.
    """
    from edgekit.devices import check_device, make_device
    from edgekit.latency import load_table, open_table, units_of
    from edgekit.latency.measuring import describe_device

    table: LatencyTable | None = None
    with tempfile.TemporaryDirectory(prefix="edgekit-latency-") as folder:
        if options["table"] is not None:
            table = load_table(options["table"])
            _refuse_other(table, options)
        if options["device"] is not None and table is not None:
            check_device(options["device"])
            device = make_device(options["device"], Path(folder) / "work")
            open_table(options["table"], describe_device(device, options["backend"], options["threads"]))
        path = _onnx(options, Path(folder) / "network.onnx")
        if table is None:
            return _provisional(path, options)
        network = units_of(path, options["backend"], options["precision"])
    told = table.predict_network(network.units, unmeasured=network.unmeasured)
    if options["as_json"]:
        click.echo(json.dumps(time_json(told, table), indent=1))
    else:
        print_time(told, table)
    return 0


def _refuse_other(table: LatencyTable, options: Mapping[str, Any]) -> None:
    """Raises UserError where the table is of another runtime or number of threads than was asked for."""
    for name, option in (("runtime", "backend"), ("threads", "threads")):
        held = getattr(table.measured_on, name)
        if held != options[option]:
            raise UserError(
                f"{options['table']} holds times for {name} {held}, not {options[option]}",
                remedy=f"give --{option} {held}, or another --table",
            )


def _onnx(options: Mapping[str, Any], path: Path) -> Path:
    """The network in float, as a build exports it."""
    from edgekit.cli.network import float_onnx

    float_onnx(options["model"], dict(options), path, None)
    return path


def _provisional(path: Path, options: Mapping[str, Any]) -> int:
    """Without a table: the roofline of a board that is not here."""
    from edgekit.graph import onnx_cost
    from edgekit.hardware import find_target
    from edgekit.plan import roofline

    target: Target = find_target(options["target"])
    told = roofline(target, onnx_cost(path), options["precision"], threads=options["threads"])
    if options["as_json"]:
        estimate = told.latency_ms
        answer = {
            "schema": 1,
            "verdict": "PROVISIONAL",
            "target": target.name,
            "latency_ms": None if estimate is None else [estimate.value, estimate.low, estimate.high],
            "notes": list(told.sentences),
        }
        click.echo(json.dumps(answer, indent=1))
        return 0
    if told.latency_ms is not None:
        estimate = told.latency_ms
        click.echo(
            f"PROVISIONAL {estimate.value:.3f} ms [{estimate.low:.3f}, {estimate.high:.3f}] on {target.name}, "
            "which nothing was measured on"
        )
    for sentence in told.sentences:
        click.echo(sentence)
    return 0


@contextmanager
def _bar() -> Iterator[JobProgress]:
    """A bar on standard error while a terminal watches."""
    from rich.progress import Progress

    from edgekit.console import make_console

    with Progress(console=make_console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("starting", total=None)
        words = {"time": "timing", "wait": "waiting for another measurement", "load": "opening layers"}

        def tell(stage: str, entry: str, done: int, total: int) -> None:
            bar.update(task, description=words.get(stage, stage), completed=done, total=total or None)

        yield tell
