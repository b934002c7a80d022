"""`edgekit docker build`, `bench` and `export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edgekit.cli.bundle import find_bundle
from edgekit.cli.spinner import spinner
from edgekit.errors import StageError
from edgekit.quantities import parse_seconds
from edgekit.runtimes import RUNTIMES

if TYPE_CHECKING:
    from edgekit.devices.measuring import Measured
    from edgekit.docker import Engine
    from edgekit.types import BackendName

__all__ = ["docker"]

BUILD_EPILOG = """\b
Examples:
  edgekit docker build --target raspberry-pi-5 --bundle out/bundle
  edgekit docker build --target jetson-orin-nano --l4t r36.4 --bundle out/bundle
  edgekit docker build --target raspberry-pi-5 --bundle out/bundle \\
      --push registry.example/vision:7 --engine podman
"""
BENCH_EPILOG = """\b
Example:
  edgekit docker bench my-bundle:1 --platform linux/arm64
"""
EXPORT_EPILOG = """\b
Example:
  edgekit docker export my-bundle:1 image.tar
  scp image.tar pi@raspberrypi: && ssh pi@raspberrypi docker load -i image.tar
"""

engine_option = click.option(
    "--engine", type=click.Choice(["docker", "podman", "buildah"]), help="[default: the first that works]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")


@click.group(epilog=BUILD_EPILOG)
def docker() -> None:
    """Container images of a board's runtime and a bundle: cross-built here, for boards that run containers."""


@docker.command(epilog=BUILD_EPILOG)
@click.option("--target", "target_name", required=True, help="The board, as in `edgekit targets`.")
@click.option(
    "--bundle",
    "bundle_folder",
    type=click.Path(path_type=Path),
    help="What goes into it: a bundle, or the --out folder of its build.  [default: the runtime alone]",
)
@click.option(
    "--runtime", type=click.Choice(sorted(RUNTIMES)), help="[default: the bundle's, else the target's first]"
)
@click.option(
    "--l4t", help="Jetsons: the board's L4T release, as r36.4.  [default: the newest for the board]"
)
@click.option(
    "--base", help="Base image.  [default: python:3.11-slim-bookworm, or NVIDIA's for the L4T release]"
)
@click.option("--tag", help="Name of the image.  [default: edgekit/TARGET:RUNTIME]")
@click.option("--push", metavar="REF", help="Name it so, and push it to that registry.")
@engine_option
@click.option(
    "--build-option",
    multiple=True,
    help="A further word for the engine's build, as --build-option=--network=host. May be repeated.",
)
@click.option("--run-option", multiple=True, help="The same for the run of the self-test.")
@click.option("--no-install", is_flag=True, help="Let pip in the image install, instead of doing it here.")
@click.option("--no-check", is_flag=True, help="Do not check the bundle's golden outputs in the new image.")
@json_option
def build(**options: Any) -> int:
    """Build the image for a board, whatever this machine's processor is, and check its bundle in it.

    Packages for the board's processor are installed here; the image is built without a network of its own.
    """
    from edgekit.docker import ImageRequest, build_image, plan_image, push_image
    from edgekit.hardware import find_target

    bundle = options["bundle_folder"]
    plan = plan_image(
        find_target(options["target_name"], Path.cwd()),
        bundle=None if bundle is None else find_bundle(bundle),
        runtime=cast("BackendName | None", options["runtime"]),
        base=options["base"],
        l4t=options["l4t"],
        tag=options["push"] or options["tag"],
    )
    engine = _engine(options["engine"])
    request = ImageRequest(
        options["build_option"], options["run_option"], not options["no_install"], not options["no_check"]
    )
    checked = build_image(engine, plan, request, _tell)
    if options["push"]:
        push_image(engine, plan.tag, _tell)
    if options["as_json"]:
        told = {"tag": plan.tag, "platform": plan.platform, "runtime": plan.runtime, "base": plan.base}
        click.echo(
            json.dumps(
                {
                    "schema": 1,
                    **told,
                    "engine": engine.name,
                    "checked": checked,
                    "pushed": bool(options["push"]),
                }
            )
        )
    else:
        said = "its bundle gives the golden outputs" if checked else "nothing was checked in it"
        click.echo(
            f"{plan.tag} for {plan.platform}, by {engine.name}: {said}"
            + ("; pushed" if options["push"] else "")
        )
    return 0


@docker.command(epilog=BENCH_EPILOG)
@click.argument("image")
@click.option("--platform", help="The image's, as linux/arm64.  [default: this machine's]")
@click.option("--seconds", default="5", show_default=True, help="Timed time, as 5 or 1m.")
@click.option("--run-option", multiple=True, help="A further word for the engine's run. May be repeated.")
@engine_option
@json_option
def bench(**options: Any) -> int:
    """Measure the bundle in an image by the runtime in it: here or under emulation, never a board's number."""
    from edgekit.docker import bench_image, host_platform

    seconds = parse_seconds(options["seconds"])
    engine = _engine(options["engine"])
    with spinner(f"measuring in {options['image']}"):
        measured = bench_image(
            engine,
            options["image"],
            options["platform"] or host_platform(),
            seconds=seconds,
            options=options["run_option"],
        )
    _print_measured(options["image"], measured, options["as_json"])
    return 0


@docker.command(epilog=EXPORT_EPILOG)
@click.argument("image")
@click.argument("archive", type=click.Path(path_type=Path))
@engine_option
@json_option
def export(**options: Any) -> int:
    """Write an image as an archive for a board without a registry: `docker load -i ARCHIVE` there."""
    from edgekit.docker import export_image

    engine = _engine(options["engine"])
    with spinner(f"writing {options['archive']}"):
        size = export_image(engine, options["image"], options["archive"])
    if options["as_json"]:
        click.echo(json.dumps({"schema": 1, "archive": str(options["archive"]), "size_bytes": size}))
    else:
        click.echo(
            f"{options['archive']}: {size / 1e6:.1f} MB; on the board: docker load -i {options['archive'].name}"
        )
    return 0


def _engine(name: str | None) -> Engine:
    from edgekit.docker import find_engine

    return find_engine(cast("Any", name))


def _tell(line: str) -> None:
    """The engine's lines are progress: they go to standard error."""
    click.echo(line, err=True)


def _print_measured(image: str, measured: Measured, as_json: bool) -> None:
    latency, environment = measured.measurement.latency, measured.measurement.environment
    if as_json:
        import msgspec

        raw = msgspec.to_builtins(measured.measurement)
        click.echo(json.dumps({"schema": 1, "image": image, **raw, "notes": list(measured.notes)}))
        return
    if latency is None:
        raise StageError("measure", "nothing was timed", "give --seconds more than 0")
    for name in ("p50", "p90", "p99"):
        value = getattr(latency, name)
        click.echo(f"latency {name}  {value.value:.3f} ms  ({value.low:.3f} to {value.high:.3f})")
    click.echo(f"load time    {measured.measurement.load_ms:.1f} ms")
    click.echo(f"peak memory  {measured.measurement.peak_memory_bytes / 1e6:.1f} MB")
    meaning = {
        "host": "this machine's, not the board's",
        "emulated": "emulated: says nothing about the board",
    }
    origin = measured.measurement.origin
    click.echo(f"origin {origin} ({meaning.get(origin, origin)}); {environment.cpu}, {environment.os}")
    for note in measured.notes:
        click.echo(f"note: {note}")
