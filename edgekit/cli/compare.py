"""`edgekit compare`."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.bundle import find_bundle
from edgekit.cli.options import device_option, preprocess_options, read_preprocess
from edgekit.errors import UserError
from edgekit.types import Artifact
from edgekit.types.measurements import LARGEST_SEED

if TYPE_CHECKING:
    from edgekit.building.examining import CompareTask

__all__ = ["compare"]

WORTH_SHOWING_S = 2.0
LOOK_S = 0.2

EPILOG = """\b
Examples:
  edgekit compare net.onnx out/bundle --data val.npz --input-layout nhwc --scale 255
  edgekit compare net_float.tflite net_int8.tflite --samples 500 --data kws.npz
  edgekit compare net.onnx net_qdq.onnx --json
  edgekit compare net.onnx net_int8.tflite --data val.npz --device ssh://pi@10.0.0.5
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
@device_option
@click.option("--both", is_flag=True, help="Run A on the device too, not B alone.")
@preprocess_options
def compare(**options: Any) -> int:
    """Two artifacts of one network, layer by layer: where they part, and what to try.

    A and B are an .onnx file (float or Q/DQ), OpenVINO's .xml, a .tflite file, or a bundle of any runtime. A is
    the reference: give the float one first. Without data the inputs are random, and accuracy hints are weak.

    With --device, B runs there, over the same samples, and is compared with A as it runs here: its tensors where a
    file of its runtime shows them (ONNX Runtime, OpenVINO), else its outputs only.
    """
    from edgekit.building.examining import CompareTask, compare_in_worker
    from edgekit.devices import DEFAULT_DEVICE, check_device

    check_device(options["device"])
    if options["both"] and options["device"] == DEFAULT_DEVICE:
        raise UserError("--both says what runs on a device", remedy="give --device too")
    task = CompareTask(
        a=read_side(options["a"]),
        b=read_side(options["b"]),
        names=(str(options["a"]), str(options["b"])),
        data=options["data"],
        preprocess=read_preprocess(options),
        count=options["samples"],
        seed=options["seed"],
        threads=options["threads"],
    )
    with tempfile.TemporaryDirectory(prefix="edgekit-compare-") as scratch, _bar(Path(scratch)):
        if options["device"] != DEFAULT_DEVICE:
            task = _with_device(task, options["device"], options["both"], Path(scratch))
        comparison = compare_in_worker(task, Path(scratch))
    if options["as_json"]:
        import msgspec

        click.echo(json.dumps({"schema": 1, **msgspec.to_builtins(comparison)}, indent=1))
    else:
        from edgekit.cli.compare_text import print_comparison

        print_comparison(comparison, options["top"])
    return 0


def _with_device(task: CompareTask, name: str, both: bool, scratch: Path) -> CompareTask:
    """B, and A too for `both`, run on the device. Raises DeviceError, ModelError."""
    from edgekit.building.compared import run_sides
    from edgekit.cli.on_device import check_runtime
    from edgekit.devices import make_device

    device = make_device(name, scratch / "work")
    facts = device.describe()
    for artifact in (task.a, task.b) if both else (task.b,):
        check_runtime(device, artifact.backend, facts)
    return run_sides(task, device, (both, True), scratch)


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
            files=tuple(
                file for file in manifest.files if Path(file.path).parent == Path(manifest.entry).parent
            ),
            size_bytes=0,
            build_s=0.0,
            options=dict(manifest.options),
        )
    return read_artifact(path, or_else="a bundle's folder")


@contextmanager
def _bar(folder: Path) -> Iterator[None]:
    """A bar on standard error while a terminal watches, once it takes more than two seconds."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import Progress

    from edgekit.building.examining import progress_of
    from edgekit.console import make_console

    bar = Progress(console=make_console(stderr=True), transient=True)
    shown, over = bar.add_task("comparing", total=None), threading.Event()

    def follow() -> None:
        wait_s = WORTH_SHOWING_S
        while not over.wait(wait_s):
            wait_s = LOOK_S
            bar.start()
            done, total = progress_of(folder) or (0, None)
            bar.update(shown, completed=done, total=total)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()
        bar.stop()
