"""`edgekit profile`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.backends.opening import known_suffixes, read_artifact, runtimes_that_open
from edgekit.cli.network import feeds_for, first_sample, float_onnx
from edgekit.cli.options import device_option, input_shape_option, preprocess_options, weights_options
from edgekit.cli.profile_layers import Row, bottlenecks, fused_into, rank
from edgekit.cli.spinner import spinner
from edgekit.errors import UserError
from edgekit.runtimes import ONNX, RUNTIMES
from edgekit.types import (
    Artifact,
    BackendName,
    Cost,
    Estimate,
    LayerTime,
    QuantizationSummary,
    Signature,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    Arrays = tuple[NDArray[np.generic], ...]
    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["profile"]

WHOLE_S, WHOLE_ROUNDS = 1.0, 5
"""How long, and in how many rounds, the network is timed as a whole; a cap of its warm-up too."""

EPILOG = """\b
Examples:
  edgekit profile net_int8.xml
  edgekit profile net_int8.tflite --device ssh://pi@10.0.0.5
  edgekit profile --model net.py:make --weights net.safetensors \\
      --input-shape 1x3x32x32 --backend openvino --top 10
"""


@dataclass(frozen=True)
class Subject:
    """What is profiled: the file that the runtime loads, its cost where it is an ONNX file, and its inputs."""

    artifact: Artifact
    cost: Cost | None
    signature: Signature


@click.command(epilog=EPILOG)
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@click.option(
    "--model", help="file.py:factory, package.module:factory, .pt2 or .onnx instead of an artifact."
)
@weights_options
@click.option("--data", help="Samples to take the inputs from.  [default: random inputs]")
@input_shape_option
@click.option(
    "--backend", type=click.Choice(runtimes_that_open(ONNX.suffix)), help="Runtime for ONNX and torch."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Profiled inferences.")
@click.option("--top", type=click.IntRange(1), help="Show the slowest so many.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@device_option
@preprocess_options
def profile(**options: Any) -> int:
    """Cost and measured time of each layer of a network, slowest first.

    Profiles an .onnx, OpenVINO .xml or .tflite file as it is, or a model (--model), which is exported in float
    first. Times are told by the runtime of the machine or board that measures, at batch 1, with its profiling on: their
    sum is a little above the latency. LiteRT has no profiler of its own there: each of its operations is timed alone.
    Where a board's runtime cannot tell, there is the time of the whole network, and why.

    Of an INT8 artifact in a store (result.json names it under "artifact") it also tells what was decided: integers,
    layers in float and why, shared scales, corrected biases.
    """
    from edgekit.devices import check_device

    if (options["artifact"] is None) == (options["model"] is None):
        raise UserError(f"give one of the two: an artifact ({', '.join(known_suffixes())}) or --model")
    check_device(options["device"])
    with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as scratch, spinner("profiling"):
        sample = first_sample(options, Path(scratch))
        subject = _subject(options, sample, Path(scratch))
        feeds = feeds_for(subject.signature, sample, options["input_shapes"])
        profiled = _profiled(subject.artifact, feeds, options, Path(scratch))
        fused = fused_into(Path(subject.artifact.folder) / subject.artifact.entry) if subject.cost else {}
    rows = rank(profiled.layers, subject.cost, fused)
    answer = {
        "schema": 1,
        "model": options["model"] or str(options["artifact"]),
        "backend": subject.artifact.backend,
        "device": profiled.device,
        "versions": profiled.device["versions"],
        "threads": options["threads"],
        "runs": options["runs"],
        "whole_network_ms": asdict(profiled.whole_ms),
        "totals": _totals(subject.cost, rows),
        "layers": [asdict(row) for row in rows],
        "no_layers": profiled.why,
        "bottlenecks": bottlenecks(rows) if rows else [],
        "quantization": _quantization(Path(subject.artifact.folder) / subject.artifact.entry),
    }
    if options["as_json"]:
        click.echo(json.dumps(answer, indent=1))
    else:
        _print(answer, rows[: options["top"]], len(rows))
    return 0


@dataclass(frozen=True)
class Profiled:
    """What the device told. `whole_ms`: p50 of the whole network without profiling; `why` there are no layers."""

    device: dict[str, Any]
    layers: tuple[LayerTime, ...]
    why: str
    whole_ms: Estimate


def _profiled(artifact: Artifact, feeds: Feeds, options: Mapping[str, Any], scratch: Path) -> Profiled:
    """Run the artifact on the device, here or elsewhere, by the same code. Raises DeviceError, ModelError."""
    from edgekit.backends.table import get_backend
    from edgekit.building.examining import layer_request
    from edgekit.building.on_device import LONGEST_S, measured_on
    from edgekit.cli.on_device import check_runtime, told_of
    from edgekit.devices import MeasureOptions, make_device
    from edgekit.limits import worker_limits

    limits = worker_limits()
    device = make_device(options["device"], scratch / "work", memory_bytes=limits.memory_bytes)
    check_runtime(device, artifact.backend, device.describe())
    settings = MeasureOptions(
        threads=options["threads"],
        seconds=WHOLE_S,
        rounds=WHOLE_ROUNDS,
        warmup_s=WHOLE_S,
        timeout_s=limits.seconds_of(LONGEST_S),
    )
    asked = layer_request(artifact, feeds, options["runs"], scratch)
    measured = measured_on(device, artifact, scratch / "outputs", settings, feeds=feeds, layers=asked)
    told, latency = measured.layers, measured.measurement.latency
    assert told is not None
    assert latency is not None
    layers = get_backend(artifact.backend).read_layers(artifact, told.rows) if told.rows else ()
    why = told.why or ("" if told.rows else "the runtime names no layer")
    return Profiled(told_of(device, measured), layers, why, latency.p50)


def _quantization(path: Path) -> dict[str, Any] | None:
    """What was decided for an INT8 artifact that lies in a store, where a build has put it; None for other files."""
    from edgekit.store import meta_of

    meta = meta_of(path, "export")
    return None if meta is None else meta["answer"].get("quantization")


def _totals(cost: Cost | None, rows: Sequence[Row]) -> dict[str, int | float | None]:
    """Parameters and bytes are those of a float network: of a quantized one only the MACs are told."""
    quantized = cost is not None and any(layer.op == "DequantizeLinear" for layer in cost.layers)
    full = None if quantized else cost
    return {
        "macs": cost.macs if cost else None,
        "parameters": full.parameters if full else None,
        "weight_bytes": full.weight_bytes if full else None,
        "activation_bytes": full.activation_bytes if full else None,
        "time_ms": sum(row.time_ms for row in rows) if rows else None,
    }


def _subject(options: dict[str, Any], sample: Arrays | None, scratch: Path) -> Subject:
    """Find what to load; a model is exported to ONNX first. Files are opened by a worker before they are here."""
    from edgekit.backends.table import get_backend
    from edgekit.building.examining import opened_signature
    from edgekit.graph import onnx_cost

    backend: BackendName | None = options["backend"]
    if options["artifact"] is not None:
        artifact = _artifact(options["artifact"], backend)
        get_backend(artifact.backend).versions()  # what is not installed is told first
        signature = opened_signature(artifact, options["input_shapes"], scratch)
        if options["artifact"].suffix != ONNX.suffix:
            return Subject(artifact, None, signature)
        return Subject(artifact, onnx_cost(_sized(options, scratch)), signature)
    path = scratch / "network.onnx"
    signature = float_onnx(options["model"], options, path, sample)
    return Subject(_artifact(path, backend), onnx_cost(path), signature)


def _sized(options: dict[str, Any], scratch: Path) -> Path:
    """The ONNX file, or a copy with the sizes that were given: open ones count nothing."""
    from edgekit.graph.proto import read_model, write_model
    from edgekit.graph.sizes import fix_sizes

    path: Path = options["artifact"]
    if not options["input_shapes"]:
        return path
    model = read_model(path)
    fix_sizes(model, path.name, options["input_shapes"])
    write_model(model, scratch / "sized.onnx")
    return scratch / "sized.onnx"


def _artifact(path: Path, backend: BackendName | None) -> Artifact:
    """The file in float32 where nothing else is asked for: a runtime may take bf16 silently."""
    artifact = read_artifact(path, backend)
    return replace(artifact, options=dict(RUNTIMES[artifact.backend].float_options))


def _print(answer: dict[str, Any], rows: Sequence[Row], layers: int) -> None:
    import msgspec

    from edgekit.cli.on_device import machine_text
    from edgekit.console import make_console

    totals, console = answer["totals"], make_console()
    version = answer["versions"].get(RUNTIMES[answer["backend"]].package, "")
    threads = f"{answer['threads']} thread" + ("s" if answer["threads"] > 1 else "")
    console.print(
        f"{answer['model']}: {answer['backend']} {version}, {threads}, {answer['runs']} runs", markup=False
    )
    if totals["macs"] is not None:
        parts = [f"{totals['macs'] / 1e6:.2f} million MACs"]
        if totals["parameters"] is not None:
            parts += [
                f"{totals['parameters']:,} parameters",
                f"weights {totals['weight_bytes'] / 1e6:.3f} MB",
                f"peak of activations {totals['activation_bytes'] / 1e6:.3f} MB",
            ]
        console.print(", ".join(parts), highlight=False)
    console.print(machine_text(answer["device"]), highlight=False, markup=False)
    if rows:
        console.print(_table(rows))
    else:
        console.print(f"no times of layers: {answer['no_layers']}", highlight=False, markup=False)
    whole = answer["whole_network_ms"]
    console.print(
        f"whole network {whole['value']:.3f} ms [{whole['low']:.3f}, {whole['high']:.3f}], profiling off",
        highlight=False,
    )
    if totals["macs"] is None:
        console.print("MACs are counted in ONNX files only", highlight=False)
    if rows:
        shown = f"the slowest {len(rows)} of {layers} layers; " if len(rows) < layers else ""
        console.print(f"{shown}sum of all layers {totals['time_ms']:.3f} ms", highlight=False)
    if answer["quantization"]:
        from edgekit.report.quantization import quantization_texts

        summary = msgspec.convert(answer["quantization"], QuantizationSummary)
        for heading, text in quantization_texts(summary).items():
            console.print(f"{heading}: {text}", highlight=False, markup=False)
    for line in answer["bottlenecks"]:
        console.print(f"bottleneck: {line}", highlight=False, markup=False)


def _table(rows: Sequence[Row]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("layer", overflow="fold", ratio=1)
    for heading in ("op", "precision"):
        table.add_column(heading, overflow="fold", max_width=14)
    for heading in ("ms", "share", "GMAC/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        rate = f"{row.gmac_s:.1f}" if row.gmac_s is not None else ""
        table.add_row(row.name, row.op, row.precision, f"{row.time_ms:.4f}", f"{row.share:.1%}", rate)
    return table
