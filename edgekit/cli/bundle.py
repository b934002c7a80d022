"""`edgekit bundle verify`, `show` and `settle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.errors import BundleError

if TYPE_CHECKING:
    from edgekit.bundle import CandidatesManifest, Manifest, Verification
    from edgekit.types import Accuracy, Estimate, TensorSpec

__all__ = ["bundle", "find_bundle"]

VERIFY_EPILOG = """\b
Example:
  edgekit bundle verify out/bundle
"""
SHOW_EPILOG = """\b
Example:
  edgekit bundle show out/bundle --json
"""
SETTLE_EPILOG = """\b
Examples:
  edgekit bundle settle out --device pi
  edgekit bundle settle out --device ssh://pi@10.0.0.5 --max-threads 4
"""


@click.group(epilog=VERIFY_EPILOG)
def bundle() -> None:
    """Verify, show or settle a bundle. DIR is the bundle, or the --out folder of the build that made it."""


@bundle.command(epilog=VERIFY_EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--files-only", is_flag=True, help="Check the files alone: run nothing, need no runtime.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify(folder: Path, files_only: bool, as_json: bool) -> int:
    """Check every file by its SHA-256 and re-run the golden inputs. Exits with 2 if anything differs."""
    from edgekit.bundle import verify_bundle

    verification = verify_bundle(find_bundle(folder), run=not files_only)
    if as_json:
        import msgspec

        content = {"ok": verification.ok, **msgspec.to_builtins(verification)}
        click.echo(msgspec.json.format(msgspec.json.encode(content), indent=1).decode())
    elif verification.ok:
        click.echo(verified_text(verification))
    else:
        for problem in verification.problems:
            click.echo(f"edgekit: {verification.folder}: {problem}", err=True)
    return 0 if verification.ok else 2


@bundle.command(epilog=SHOW_EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def show(folder: Path, as_json: bool) -> None:
    """Show what a bundle is, how it runs and what was measured of it."""
    from edgekit.bundle import CandidatesManifest, read_any_manifest

    manifest = read_any_manifest(find_bundle(folder))
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode())
        return
    from rich.table import Table
    from rich.text import Text

    from edgekit.console import make_console

    table = Table(show_header=False, box=None, pad_edge=False)
    if isinstance(manifest, CandidatesManifest):
        told = [*candidate_rows(manifest), *settled_rows(find_bundle(folder))]
    else:
        told = rows(manifest)
    for name, text in told:
        table.add_row(name, Text(text, overflow="fold"))
    make_console().print(table)


@bundle.command(epilog=SETTLE_EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--device",
    metavar="DEVICE",
    required=True,
    help="The board: ssh://user@host[:port], a name of `edgekit device list`, or local.",
)
@click.option("--seconds", default="5", show_default=True, help="Timed time for each candidate, as 5 or 1m.")
@click.option("--no-tune", is_flag=True, help="Measure the candidates as they were built, and no more.")
@click.option(
    "--max-threads",
    type=click.IntRange(1, 4096),
    help="The most threads that are tried.  [default: those of the build]",
)
@click.option("--store", type=click.Path(path_type=Path), default=Path(".edgekit"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--quiet", is_flag=True, help="Do not tell the steps.")
def settle(folder: Path, **options: Any) -> int:
    """Measure the candidates of a bundle on their board, and choose by the rules of `edgekit build`.

    DIR is the --out folder of the build, or its bundle. What costs nothing is tried with each candidate (threads,
    options of its runtime) and kept where it is surely faster. Written: settled.json in the bundle, and, where the
    build's result.json is beside it, that one and report.html with the verdict. A rerun takes up what is finished.
    Exits with 0, 3 or 4 as build does.
    """
    from edgekit.cli.settle import settle_folder

    return settle_folder(find_bundle(folder), options)


def find_bundle(folder: Path) -> Path:
    """The bundle itself: the folder, or the `bundle` in it. Raises BundleError for what is not there."""
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder", remedy="give OUT/bundle of a finished build")
    inner = folder / "bundle"
    return inner if not (folder / "manifest.json").exists() and inner.is_dir() else folder


def verified_text(verification: Verification) -> str:
    """One line on a bundle that is whole."""
    text = f"{verification.folder}: {verification.files} files as written"
    if verification.difference is None:
        return f"{text}; golden outputs not re-run"
    return (
        f"{text}; {verification.samples} golden outputs match "
        f"(off by {verification.difference:.2g} of the largest value, allowed {verification.tolerance:g})"
    )


def rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Name and text of every fact worth a line."""
    measured, preprocess = manifest.measured, manifest.preprocess
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
    return [
        ("candidate", f"{manifest.candidate.id}: {manifest.description}"),
        ("target", manifest.target),
        ("runtime", f"{manifest.candidate.backend}, {manifest.threads} threads ({versions})"),
        ("precision", f"{manifest.candidate.precision}, ran as {manifest.ran_as}"),
        ("options", ", ".join(f"{name}={value}" for name, value in manifest.options.items()) or "none"),
        ("inputs", "; ".join(tensor_text(spec) for spec in manifest.signature.inputs)),
        ("outputs", "; ".join(tensor_text(spec) for spec in manifest.signature.outputs)),
        (
            "preprocess",
            f"layout {preprocess.input_layout}, channels {preprocess.channels or 'as stored'}, "
            f"resize {preprocess.resize}, letterbox {preprocess.letterbox}, crop {preprocess.crop}, "
            f"scale {preprocess.scale:g}, mean {list(preprocess.mean)}, std {list(preprocess.std)}",
        ),
        (
            "labels",
            f"{len(manifest.labels)}: {', '.join(manifest.labels[:10])}" if manifest.labels else "none",
        ),
        *((name, estimate_text(value)) for name, value in latencies(manifest)),
        ("measured on", f"{measured.machine}, {measured.cpu} (origin {measured.origin})"),
        ("peak memory", f"{measured.peak_memory_bytes / 1e6:.1f} MB"),
        ("load time", f"{measured.load_ms:.1f} ms"),
        ("accuracy", accuracy_text(measured.test or measured.validation)),
        ("golden", f"{manifest.golden.samples} samples, tolerance {manifest.golden.tolerance:g}"),
        (
            "files",
            f"{len(manifest.files) + 1}, {sum(file.size_bytes for file in manifest.files) / 1e6:.2f} MB",
        ),
        ("made", f"{manifest.created} by edgekit {manifest.edgekit}"),
    ]


def candidate_rows(manifest: CandidatesManifest) -> list[tuple[str, str]]:
    """The same for a bundle of several candidates."""
    return [
        ("target", manifest.target),
        ("settle", "on the board: python3 settle.py"),
        *(
            (
                candidate.folder,
                f"{candidate.backend} {candidate.precision}, {candidate.metric} {100 * candidate.value:.2f} %, drop "
                f"{100 * candidate.drop:.2f} points, {candidate.size_bytes / 1e6:.2f} MB, "
                + (
                    f"estimated {range_text(candidate.estimated_ms)}"
                    if candidate.estimated_ms
                    else "no estimate"
                ),
            )
            for candidate in manifest.candidates
        ),
        ("files", f"{len(manifest.files) + 1}"),
        ("made", f"{manifest.created} by edgekit {manifest.edgekit}"),
    ]


def settled_rows(folder: Path) -> list[tuple[str, str]]:
    """What settling found of a bundle of several candidates, where it was settled. Raises BundleError."""
    from edgekit.board.candidates import read_bundle
    from edgekit.board.settled import SETTLED, read_settled

    if not (folder / SETTLED).exists():
        return []
    try:
        settled = read_settled(str(folder / SETTLED), read_bundle(str(folder))[0])
    except ValueError as error:
        raise BundleError(str(error)) from error
    return [("settled", f"{settled['verdict']}, {settled['winner'] or 'no candidate'}")]


def latencies(manifest: Manifest) -> list[tuple[str, Estimate]]:
    measured = manifest.measured
    named = (("p50", measured.p50_ms), ("p90", measured.p90_ms), ("p99", measured.p99_ms))
    return [(f"latency {name}", value) for name, value in named if value is not None]


def tensor_text(spec: TensorSpec) -> str:
    shape = ", ".join("?" if size is None else str(size) for size in spec.shape)
    return f"{spec.name} {spec.dtype} [{shape}]"


def estimate_text(value: Estimate) -> str:
    return f"{value.value:.4g} ms [{value.low:.4g}, {value.high:.4g}]"


def range_text(value: Estimate) -> str:
    return f"{value.low:.4g} to {value.high:.4g} ms (likely {value.value:.4g})"


def accuracy_text(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "not measured"
    value, drop = accuracy.value, accuracy.drop
    return (
        f"{accuracy.metric} {100 * value.value:.2f} % [{100 * value.low:.2f}, {100 * value.high:.2f}] on "
        f"{accuracy.samples} samples of {accuracy.split}, drop {100 * drop.value:.2f} points "
        f"[{100 * drop.low:.2f}, {100 * drop.high:.2f}]"
    )
