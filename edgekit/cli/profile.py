"""`edgekit profile`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.network import example_inputs, first_sample
from edgekit.cli.options import preprocess_options
from edgekit.cli.profile_layers import Row, bottlenecks, fused_into, rank
from edgekit.cli.spinner import spinner
from edgekit.errors import DataError, ModelError, UserError, in_one_line
from edgekit.types import Artifact, BackendName, Cost, FileHash, Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["profile"]

EPILOG = """\b
Examples:
  edgekit profile net_int8.xml
  edgekit profile --model net.py:make --weights net.safetensors \\
      --input-shape 1,3,32,32 --backend openvino --top 10
"""


@dataclass(frozen=True)
class Subject:
    """What is profiled: the file that the runtime loads, its ONNX form where there is one, and its inputs."""

    path: Path
    backend: BackendName
    cost: Cost | None
    signature: Signature


@click.command(epilog=EPILOG)
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@click.option(
    "--model", help="file.py:factory, package.module:factory, .pt2 or .onnx instead of an artifact."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for a factory.")
@click.option("--data", help="Samples to take the inputs from.  [default: random inputs]")
@click.option("--input-shape", "shapes", multiple=True, help="As 1,3,32,32; once per input of a torch model.")
@click.option("--backend", type=click.Choice(["onnxruntime", "openvino"]), help="Runtime for ONNX and torch.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Profiled inferences.")
@click.option("--top", type=click.IntRange(1), help="Show the slowest so many.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@preprocess_options
def profile(**options: Any) -> int:
    """Cost and measured time of each layer of a network, slowest first.

    Profiles an .onnx, OpenVINO .xml or .tflite file as it is, or a model (--model), which is exported in float
    first. Times are the runtime's own, at batch 1, with its profiling on: their sum is a little above the latency.
    LiteRT has no profiler of its own there: each of its operations is timed alone.
    """
    from edgekit.backends.table import get_backend

    if (options["artifact"] is None) == (options["model"] is None):
        raise UserError("give one of the two: an artifact (.onnx, .xml, .tflite) or --model")
    with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as scratch, spinner("profiling"):
        sample = first_sample(options, Path(scratch))
        subject = _subject(options, sample, Path(scratch))
        feeds = _feeds(subject.signature, sample)
        backend = get_backend(subject.backend)
        versions = backend.versions()
        artifact = _artifact(subject)
        times = backend.profile(artifact, feeds, options["runs"], options["threads"])
        fused = fused_into(subject.path) if subject.path.suffix == ".onnx" else {}
    rows = rank(times, subject.cost, fused)
    answer = {
        "schema": 1,
        "model": options["model"] or str(options["artifact"]),
        "backend": subject.backend,
        "versions": versions,
        "threads": options["threads"],
        "runs": options["runs"],
        "totals": _totals(subject.cost, rows),
        "layers": [asdict(row) for row in rows],
        "bottlenecks": bottlenecks(rows),
    }
    if options["as_json"]:
        click.echo(json.dumps(answer, indent=1))
    else:
        _print(answer, rows[: options["top"]], len(rows))
    return 0


def _totals(cost: Cost | None, rows: Sequence[Row]) -> dict[str, int | float | None]:
    """Parameters and bytes are those of a float network: of a quantized one only the MACs are told."""
    quantized = cost is not None and any(layer.op == "DequantizeLinear" for layer in cost.layers)
    full = None if quantized else cost
    return {
        "macs": cost.macs if cost else None,
        "parameters": full.parameters if full else None,
        "weight_bytes": full.weight_bytes if full else None,
        "activation_bytes": full.activation_bytes if full else None,
        "time_ms": sum(row.time_ms for row in rows),
    }


def _subject(options: dict[str, Any], sample: Arrays | None, scratch: Path) -> Subject:
    """Find what to load; a model is exported to ONNX first."""
    from edgekit.graph import onnx_cost
    from edgekit.model import export_onnx, import_onnx, load_module, locate

    backend: BackendName | None = options["backend"]
    if options["artifact"] is not None:
        return _file(options["artifact"], backend)
    reference = locate(options["model"], options["weights"])
    path = scratch / "network.onnx"
    if reference.kind == "onnx":
        signature = import_onnx(reference.source, path)
    else:
        example = example_inputs(sample, options["shapes"])
        signature = export_onnx(load_module(reference), example, path)
    return Subject(path, backend or "onnxruntime", onnx_cost(path), signature)


def _file(path: Path, backend: BackendName | None) -> Subject:
    """An .onnx, .xml or .tflite file, taken as it is."""
    if path.suffix not in (".onnx", ".xml", ".tflite"):
        raise ModelError(
            f"{path} has the suffix {path.suffix!r}", allowed=".onnx, .tflite, or .xml of OpenVINO"
        )
    if not path.is_file():
        raise ModelError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    if path.suffix == ".xml":
        if backend == "onnxruntime":
            raise UserError(f"ONNX Runtime cannot load {path.name}", remedy="leave --backend out")
        return Subject(path, "openvino", None, _openvino_signature(path))
    if path.suffix == ".tflite":
        if backend is not None:
            raise UserError(f"{backend} cannot load {path.name}", remedy="leave --backend out")
        return Subject(path, "litert", None, _litert_signature(path))
    from edgekit.graph import onnx_cost, read_signature

    return Subject(path, backend or "onnxruntime", onnx_cost(path), read_signature(path))


def _openvino_signature(path: Path) -> Signature:
    from edgekit.backends.openvino.ir import first_line
    from edgekit.backends.table import get_backend
    from edgekit.board.sessions.opening import open_session

    get_backend("openvino").versions()
    try:
        with open_session("openvino", str(path)) as session:
            raw = session.signature
    except RuntimeError as problem:
        raise ModelError(f"OpenVINO cannot load {path}: {first_line(problem)}") from problem
    return _as_signature(raw)


def _litert_signature(path: Path) -> Signature:
    from edgekit.backends.table import get_backend
    from edgekit.board.sessions.opening import open_session

    get_backend("litert").versions()
    try:
        with open_session("litert", str(path)) as session:
            return _as_signature(session.signature)
    except (ValueError, RuntimeError) as problem:
        raise ModelError(f"LiteRT cannot load {path}: {in_one_line(problem)}") from problem


def _as_signature(raw: dict[str, Any]) -> Signature:
    """What a session says, as the typed one."""
    inputs, outputs = (
        tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in raw[side])
        for side in ("inputs", "outputs")
    )
    return Signature(inputs, outputs)


def _artifact(subject: Subject) -> Artifact:
    """OpenVINO computes in float32 here where nothing else is asked for: it would take bf16 silently."""
    options = {"INFERENCE_PRECISION_HINT": "f32"} if subject.backend == "openvino" else {}
    return Artifact(
        candidate=subject.path.stem,
        backend=subject.backend,
        folder=str(subject.path.resolve().parent),
        entry=subject.path.name,
        files=(FileHash(subject.path.name, "", subject.path.stat().st_size),),
        size_bytes=subject.path.stat().st_size,
        build_s=0.0,
        options=options,
    )


def _feeds(signature: Signature, sample: Arrays | None) -> dict[str, NDArray[np.generic]]:
    """Input name → the sample, or random numbers; dynamic dimensions are 1."""
    from edgekit.board.sessions.base import random_feeds

    if sample is None:
        inputs = [asdict(spec) for spec in signature.inputs]
        random: dict[str, NDArray[np.generic]] = random_feeds({"inputs": inputs}, 0)
        return random
    if len(sample) != len(signature.inputs):
        raise DataError(f"the data gives {len(sample)} inputs, the network takes {len(signature.inputs)}")
    feeds = {}
    for spec, array in zip(signature.inputs, sample, strict=True):
        wanted = [dim or "any" for dim in spec.shape]
        same = len(array.shape) == len(spec.shape)
        if not same or any(d is not None and d != a for d, a in zip(spec.shape, array.shape, strict=True)):
            raise DataError(f"a sample is {list(array.shape)}, input {spec.name} takes {wanted}")
        feeds[spec.name] = array
    return feeds


def _print(answer: dict[str, Any], rows: Sequence[Row], layers: int) -> None:
    from rich.console import Console
    from rich.table import Table

    totals, console = answer["totals"], Console()
    version = answer["versions"].get(answer["backend"], "")
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
    table = Table()
    table.add_column("layer", overflow="fold", ratio=1)
    for heading in ("op", "precision"):
        table.add_column(heading, overflow="fold", max_width=14)
    for heading in ("ms", "share", "GMAC/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        rate = f"{row.gmac_s:.1f}" if row.gmac_s is not None else ""
        table.add_row(row.name, row.op, row.precision, f"{row.time_ms:.4f}", f"{row.share:.1%}", rate)
    console.print(table)
    if totals["macs"] is None:
        console.print("MACs are counted in ONNX files only", highlight=False)
    shown = f"the slowest {len(rows)} of {layers} layers; " if len(rows) < layers else ""
    console.print(f"{shown}sum of all layers {totals['time_ms']:.3f} ms", highlight=False)
    for line in answer["bottlenecks"]:
        console.print(f"bottleneck: {line}", highlight=False, markup=False)
