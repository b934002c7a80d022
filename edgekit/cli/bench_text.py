"""What `edgekit bench` tells of a measurement: as JSON, and in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError
from edgekit.runtimes import RUNTIMES
from edgekit.types import Artifact, Estimate, InputShape

if TYPE_CHECKING:
    from edgekit.devices.measuring import Measured
    from edgekit.devices.samples import SampleFiles

__all__ = ["print_measured", "summary"]


def summary(
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
        "available_bytes": measured.measurement.available_bytes,
        "energy": raw["energy"],
        "size_bytes": artifact.size_bytes,
        "accuracy": accuracy,
        "signature": msgspec.to_builtins(measured.signature),
        "runtime_facts": dict(measured.runtime),
        "environment": raw["environment"],
        "notes": notes,
    }


def print_measured(result: dict[str, Any]) -> None:
    from rich.table import Table

    from edgekit.console import make_console

    environment, latency = result["environment"], result["latency_ms"]
    row = RUNTIMES[result["runtime"]]
    version = environment["versions"].get(row.package, "")
    table = Table(title=f"{result['artifact']}, {result['runtime']} {version}", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    state = latency["steadiness"]["state"] if latency["steadiness"] else "clean"
    mark = {"clean": "", "throttled": ", throttled", "unknown": ", steadiness unknown"}[state]
    for name in ("p50", "p90", "p99"):
        estimate = Estimate(**latency[name])
        table.add_row(
            f"latency {name}{mark}",
            f"{estimate.value:.3f} ms",
            f"{estimate.low:.3f} to {estimate.high:.3f} ms",
        )
    if result["accuracy"]:
        got = result["accuracy"]
        table.add_row(f"{got['metric']} ({got['samples']} samples)", f"{got['value']:.4f}",
                      f"{got['low']:.4f} to {got['high']:.4f}")  # fmt: skip
    if result["energy"]:
        spent, source = result["energy"]["per_inference_mj"], result["energy"]["source"]
        table.add_row(f"energy of an inference ({source})", f"{spent['value']:.3g} mJ",
                      f"{spent['low']:.3g} to {spent['high']:.3g} mJ")  # fmt: skip
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
    if result["energy"]:
        console.print(
            f"the idle board's {result['energy']['idle_watts']:.3g} W are subtracted", highlight=False
        )
    certificate = latency["steadiness"]
    if certificate:
        reasons = f": {'; '.join(certificate['reasons'])}" if certificate["reasons"] else ""
        console.print(f"steadiness {certificate['state']}{reasons}", highlight=False, markup=False)
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False)
