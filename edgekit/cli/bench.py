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

from edgekit.cli.network import feeds_for
from edgekit.cli.options import (
    device_option,
    input_shape_option,
    parse_cpus,
    preprocess_options,
    read_preprocess,
)
from edgekit.errors import DataError, ModelError, StageError
from edgekit.quantities import parse_seconds
from edgekit.runtimes import RUNTIMES
from edgekit.types import Artifact, Estimate, InputShape, TensorSpec
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
        result = _summary(artifact, measured, samples, options["metric"], options["input_shapes"])
    if options["as_json"]:
        click.echo(json.dumps(result))
    else:
        _print(result)
    return 0


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


def _summary(
    artifact: Artifact,
    measured: Measured,
    samples: SampleFiles | None,
    metric: str | None,
    given: tuple[InputShape, ...],
) -> dict[str, Any]:
    """What `--json` prints: plain values only."""
    import msgspec

    from edgekit.graph.sizes import shapes_by_name
    from edgekit.measure.accuracy import estimate_mean
    from edgekit.measure.scoring import find_scoring

    notes = list(measured.notes)
    if samples is None:
        chosen = shapes_by_name(given, measured.signature.inputs)
        sizes = {
            spec.name: chosen.get(spec.name) or tuple(dim or 1 for dim in spec.shape)
            for spec in measured.signature.inputs
        }
        shapes = [f"{name} {list(shape)}" for name, shape in sizes.items()]
        notes.append(f"inputs are random: {', '.join(shapes)}")
        open_inputs = [spec.name for spec in measured.signature.inputs if None in spec.shape]
        dynamic = [name for name in open_inputs if name not in chosen]
        notes += [f"dynamic dimensions of {', '.join(dynamic)} were set to 1"] if dynamic else []
    accuracy = None
    if samples is not None and samples.labels is None:
        notes.append("the data has no labels: no accuracy")
    elif samples is not None and samples.labels is not None:
        outputs = measured.load_outputs()
        try:
            scoring = find_scoring(metric, samples.labels, outputs)
        except DataError as problem:
            if metric is not None:
                raise
            notes.append(f"no accuracy: {problem}")
        else:
            value = msgspec.to_builtins(estimate_mean(scoring.scores(outputs)))
            accuracy = {"metric": scoring.name, "samples": samples.count, **value}
    raw = msgspec.to_builtins(measured.measurement)
    return {
        "schema": 1,
        "artifact": artifact.entry,
        "runtime": artifact.backend,
        "origin": measured.measurement.origin,
        "latency_ms": raw["latency"],
        "load_ms": measured.measurement.load_ms,
        "import_ms": measured.measurement.import_ms,
        "peak_memory_bytes": measured.measurement.peak_memory_bytes,
        "size_bytes": artifact.size_bytes,
        "accuracy": accuracy,
        "signature": msgspec.to_builtins(measured.signature),
        "runtime_facts": dict(measured.runtime),
        "environment": raw["environment"],
        "notes": notes,
    }


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    from edgekit.console import make_console

    environment, latency = result["environment"], result["latency_ms"]
    row = RUNTIMES[result["runtime"]]
    version = environment["versions"].get(row.package, "")
    table = Table(title=f"{result['artifact']}, {result['runtime']} {version}", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name in ("p50", "p90", "p99"):
        estimate = Estimate(**latency[name])
        table.add_row(
            f"latency {name}", f"{estimate.value:.3f} ms", f"{estimate.low:.3f} to {estimate.high:.3f} ms"
        )
    if result["accuracy"]:
        got = result["accuracy"]
        table.add_row(f"{got['metric']} ({got['samples']} samples)", f"{got['value']:.4f}",
                      f"{got['low']:.4f} to {got['high']:.4f}")  # fmt: skip
    table.add_row("load time", f"{result['load_ms']:.1f} ms", "")
    table.add_row("peak memory of the process", f"{result['peak_memory_bytes'] / 1e6:.1f} MB", "")
    table.add_row("size", f"{result['size_bytes'] / 1e6:.3f} MB", "")
    console = make_console()
    console.print(table)
    runs = sum(len(samples) for samples in latency["rounds_ms"])
    pinned = ",".join(str(cpu) for cpu in environment["pinned_cpus"]) or "none"
    console.print(
        f"origin {result['origin']}; {environment['cpu']}, {environment['os']}; "
        f"threads {environment['threads']}, pinned CPUs {pinned}; "
        f"governor {environment['governor'] or 'not told'}; load {environment['load_1m']:.2f}; "
        f"{runs} timed runs in {len(latency['rounds_ms'])} rounds, {latency['preemptions']} preemptions",
        highlight=False,
    )
    ran_as = result["runtime_facts"].get(row.float_fact)
    if ran_as:  # a runtime may compute float networks in bf16 by itself where the CPU has it
        console.print(f"float layers are computed in {ran_as}", highlight=False, markup=False)
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False)


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
                "evaluate": "scoring samples",
            }
            bar.update(task, description=words.get(stage, stage), completed=done, total=total or None)

        yield tell
