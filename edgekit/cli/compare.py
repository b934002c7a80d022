"""`edgekit compare`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.bundle import find_bundle
from edgekit.cli.options import preprocess_options, read_preprocess
from edgekit.types import Artifact
from edgekit.types.measurements import LARGEST_SEED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.compare import CompareSamples
    from edgekit.types import Preprocess

__all__ = ["compare"]

BATCH = 32
WORTH_SHOWING_S = 2.0

EPILOG = """\b
Examples:
  edgekit compare net.onnx out/bundle --data val.npz --input-layout nhwc --scale 255
  edgekit compare net_float.tflite net_int8.tflite --samples 500 --data kws.npz
  edgekit compare net.onnx net_qdq.onnx --json
"""


@click.command(epilog=EPILOG)
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option("--data", help="Samples to compare on: .npz, image folder, file.py:factory, or `digits`.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="At most so many.")
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, help="Layers to show, worst first."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    help="Of the choice of samples and of random inputs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything, all layers in graph order, as JSON.")
@preprocess_options
def compare(**options: Any) -> int:
    """Two artifacts of one network, layer by layer: where they part, and what to try.

    A and B are an .onnx file (float or Q/DQ), OpenVINO's .xml, a .tflite file, or a bundle of any runtime. A is
    the reference: give the float one first. Without data the inputs are random, and accuracy hints are weak.
    """
    from edgekit.compare import compare_artifacts

    preprocess = read_preprocess(options)
    a, b = read_side(options["a"]), read_side(options["b"])
    with tempfile.TemporaryDirectory(prefix="edgekit-compare-") as scratch, _bar() as progress:
        samples = None
        if options["data"] is not None:
            samples = _samples(
                options["data"], preprocess, options["samples"], options["seed"], Path(scratch)
            )
        comparison = compare_artifacts(
            a,
            b,
            samples,
            count=options["samples"],
            seed=options["seed"],
            threads=options["threads"],
            names=(str(options["a"]), str(options["b"])),
            progress=progress,
        )
    if options["as_json"]:
        import msgspec

        click.echo(json.dumps({"schema": 1, **msgspec.to_builtins(comparison)}, indent=1))
    else:
        from edgekit.cli.compare_text import print_comparison

        print_comparison(comparison, options["top"])
    return 0


def read_side(path: Path) -> Artifact:
    """A file or a bundle as an artifact. Raises ModelError, BundleError or MissingExtraError."""
    from edgekit.backends.opening import read_artifact

    if path.is_dir():
        from edgekit.bundle import read_manifest

        folder = find_bundle(path)
        manifest = read_manifest(folder)
        return Artifact(
            candidate=Path(manifest.entry).stem,
            backend=manifest.candidate.backend,
            folder=str(folder.resolve()),
            entry=manifest.entry,
            files=(),
            size_bytes=0,
            build_s=0.0,
            options=dict(manifest.options),
        )
    return read_artifact(path, or_else="a bundle's folder")


def _samples(data: str, preprocess: Preprocess, limit: int, seed: int, scratch: Path) -> CompareSamples:
    """At most `limit` samples, drawn by the seed from the source's test or val part, or all of it."""
    import numpy as np

    from edgekit.compare import CompareSamples
    from edgekit.data import open_source

    source = open_source(data, preprocess, scratch / "cache")
    parts = source.parts
    name = "test" if parts.get("test") else "val" if parts.get("val") else ""
    chosen = np.asarray(parts[name] if name else range(len(source)), dtype=np.int64)
    if len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, limit, replace=False))

    def batches() -> Iterator[tuple[tuple[NDArray[np.generic], ...], NDArray[np.generic] | None]]:
        for begin in range(0, len(chosen), BATCH):
            batch = source.take(chosen[begin : begin + BATCH])
            yield batch.inputs, batch.labels

    return CompareSamples(
        batches, len(chosen), f"{len(chosen)} samples of {source.name}" + (f" ({name})" if name else "")
    )


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while a terminal watches, once it takes more than two seconds."""
    from rich.progress import Progress

    from edgekit.console import make_console

    bar = Progress(console=make_console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    task = bar.add_task("comparing", total=None)
    begun = time.monotonic()

    def tell(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() - begun > WORTH_SHOWING_S and not bar.live.is_started:
            bar.start()

    try:
        yield tell
    finally:
        bar.stop()
