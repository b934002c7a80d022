"""`edgekit bench`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.bench_text import print_measured, summary
from edgekit.cli.network import feeds_for
from edgekit.cli.options import (
    device_option,
    input_shape_option,
    parse_cpus,
    preprocess_options,
    read_preprocess,
    read_words,
)
from edgekit.errors import ModelError, StageError, UserError
from edgekit.quantities import parse_seconds
from edgekit.types import Artifact, InputShape, TensorSpec
from edgekit.types.measurements import LARGEST_SEED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.data import DataSource
    from edgekit.devices.base import Device, JobProgress
    from edgekit.devices.measuring import Measured, MeasureOptions
    from edgekit.devices.samples import SampleFiles
    from edgekit.types import Preprocess

__all__ = ["bench"]

BATCH = 64
LONGEST_S = 900.0
TIME_OVER = "within the entry's time limit"  # as the board says it

EPILOG = """\b
Examples:
  edgekit bench net.onnx
  edgekit bench net_int8.tflite
  edgekit bench net_int8.xml --threads 2 --cpus 0,1 --data val.npz \\
      --input-layout nhwc --scale 255
  edgekit bench net_int8.tflite --device ssh://pi@10.0.0.5
"""


@click.command(epilog=EPILOG)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--data", help="Samples to score: .npz, image folder, file.py:factory, or `digits`.")
@click.option("--samples", type=click.IntRange(1), default=2000, show_default=True, help="At most so many.")
@click.option("--metric", help="As for `edgekit build`.  [default: by the labels]")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--cpus", help="Pin to these CPUs, as 0,1; none: do not pin.  [default: the first THREADS]")
@click.option("--seconds", default="5", show_default=True, help="Timed time, as 5 or 1m.")
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    help="Of random inputs and of the samples drawn.",
)
@click.option("--strict", is_flag=True, help="Refuse a throttled or drifting run instead of marking it.")
@click.option(
    "--energy", is_flag=True, help="Also the energy of an inference, where the board tells its power."
)
@click.option("--meter", help="With --energy: a command that prints the board's power in watts.")
@click.option(
    "--sweep", type=click.Choice(["power"]), help="Try the board's power modes, and put back what was set."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything measured as JSON.")
@device_option
@input_shape_option
@preprocess_options
def bench(**options: Any) -> int:
    """Measure one .onnx, OpenVINO .xml or .tflite model on this machine or a board, in a process of its own.

    Latency at batch 1 (p50, p90, p99 with 95 % intervals), load time, peak memory and, with labelled data,
    accuracy. Without data the inputs are random numbers of the network's shape; sizes that it leaves open are those
    of --input-shape, else 1. Images of a .tflite file, which
    has their channels last, are given as [N, C, H, W] like all others.
    """
    from edgekit.backends.opening import read_artifact
    from edgekit.devices import check_device, make_device
    from edgekit.devices.measuring import MeasureOptions
    from edgekit.limits import worker_limits
    from edgekit.measure.metrics import find_metric

    _refuse_contradictions(options)
    preprocess = read_preprocess(options)
    if options["metric"]:
        find_metric(options["metric"])  # a mistake in it is told before anything is measured
    check_device(options["device"])
    artifact = read_artifact(options["artifact"])
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as scratch:
        limits = worker_limits()
        place = Path(scratch) / "work"
        device = make_device(options["device"], place, memory_bytes=limits.memory_bytes)
        cpus = options["cpus"]
        settings = MeasureOptions(
            threads=options["threads"],
            cpus=None if cpus is None else parse_cpus(cpus, device.describe()["cpus"]),
            seconds=parse_seconds(options["seconds"]),
            seed=options["seed"],
            timeout_s=limits.seconds_of(LONGEST_S),
            strict=options["strict"],
            energy=options["energy"],
            meter=read_words("--meter", options["meter"]),
        )
        if options["sweep"]:
            return _sweep(
                device, artifact, settings, options["input_shapes"], Path(scratch), as_json=options["as_json"]
            )
        with _bar() as progress:
            measured, samples = _measure(
                device,
                artifact,
                settings,
                options["data"],
                preprocess,
                options["samples"],
                options["input_shapes"],
                Path(scratch),
                progress,
            )
        result = summary(artifact, measured, samples, options["metric"], options["input_shapes"])
    if options["as_json"]:
        click.echo(json.dumps(result))
    else:
        print_measured(result)
    return 0


def _sweep(
    device: Device,
    artifact: Artifact,
    settings: MeasureOptions,
    shapes: tuple[InputShape, ...],
    scratch: Path,
    *,
    as_json: bool,
) -> int:
    """`--sweep power`, on random inputs."""
    from edgekit.cli.sweep import print_sweep, sweep, sweep_json
    from edgekit.types import Preprocess

    with _bar() as progress:

        def measure_once(options: MeasureOptions) -> Measured:
            return _measure(device, artifact, options, None, Preprocess(), 1, shapes, scratch, progress)[0]

        results = sweep(device.describe(), settings, measure_once)
    if as_json:
        click.echo(json.dumps(sweep_json(results)))
    else:
        print_sweep(results)
    return 0


def _refuse_contradictions(options: Mapping[str, Any]) -> None:
    """Raises UserError for options that exclude each other."""
    if options["sweep"] and options["data"]:
        raise UserError(
            "--sweep power with --data", remedy="leave out --data: modes differ in time and energy alone"
        )
    if options["meter"] and not (options["energy"] or options["sweep"]):
        raise UserError("--meter without --energy", remedy="give both")


def _measure(
    device: Device,
    artifact: Artifact,
    settings: MeasureOptions,
    data: str | None,
    preprocess: Preprocess,
    limit: int,
    shapes: tuple[InputShape, ...],
    scratch: Path,
    progress: JobProgress,
) -> tuple[Measured, SampleFiles | None]:
    """Measure the artifact; with data or shapes, load it first for the inputs that it says it takes."""
    from dataclasses import replace

    from edgekit.building.examining import opened_signature
    from edgekit.devices.measuring import Measured, measure
    from edgekit.limits import HOURS

    def measure_once(
        options: MeasureOptions,
        samples: SampleFiles | None = None,
        feeds: Mapping[str, NDArray[np.generic]] | None = None,
    ) -> Measured:
        try:
            result = measure(
                device,
                [artifact],
                folder=scratch / "outputs",
                options=options,
                feeds=samples.first if samples else feeds,
                samples=samples.inputs if samples else None,
                progress=progress,
            )[artifact.candidate]
        except StageError as error:  # the runner's own end, or its limits
            raise ModelError(
                f"{artifact.entry} cannot be measured: {error.cause}", remedy=error.remedy
            ) from error
        if isinstance(result, Measured):
            return result
        remedy = result.remedy or (f"{HOURS} allows more time" if TIME_OVER in result.cause else "")
        if "load" in result.stage:
            raise ModelError(
                f"{artifact.backend} cannot load {artifact.entry}: {result.cause}", remedy=remedy
            )
        raise ModelError(
            f"{artifact.entry} cannot be measured: {result.stage}: {result.cause}", remedy=remedy
        )

    inputs: tuple[TensorSpec, ...] | None = None
    feeds = None
    if shapes:
        feeds = feeds_for(opened_signature(artifact, shapes, scratch), None, shapes)
        inputs = tuple(TensorSpec(name, str(array.dtype), array.shape) for name, array in feeds.items())
    if data is None:
        return measure_once(settings, feeds=feeds), None
    from edgekit.data import open_source

    source = open_source(data, preprocess, scratch / "cache")  # a mistake in it is told before anything runs
    if inputs is None:
        inputs = measure_once(replace(settings, seconds=0.0)).signature.inputs
    samples = _write_samples(source, limit, settings.seed, inputs, scratch)
    return measure_once(settings, samples), samples


def _write_samples(source: DataSource, limit: int, seed: int, inputs: Any, scratch: Path) -> SampleFiles:
    """At most `limit` samples, drawn by the seed from the source's test or val part, or all of it."""
    import numpy as np

    from edgekit.devices.samples import write_samples

    parts = source.parts
    chosen = np.asarray(parts.get("test") or parts.get("val") or range(len(source)), dtype=np.int64)
    if len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, limit, replace=False))
    batches = (source.take(chosen[begin : begin + BATCH]) for begin in range(0, len(chosen), BATCH))
    return write_samples(batches, inputs, scratch / "samples", count=len(chosen))


@contextmanager
def _bar() -> Iterator[JobProgress]:
    """A bar on standard error while a terminal watches."""
    from rich.progress import Progress

    from edgekit.console import make_console

    with Progress(console=make_console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("starting", total=None)

        def tell(stage: str, entry: str, done: int, total: int) -> None:
            words = {
                "time": "timing",
                "wait": "waiting for another measurement",
                "cool": "the board was not steady: letting it cool down",
                "energy": "measuring energy",
                "evaluate": "scoring samples",
            }
            bar.update(task, description=words.get(stage, stage), completed=done, total=total or None)

        yield tell
