"""`edgekit serve`: a bundle that answers over HTTP."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from edgekit.errors import MissingExtraError, UserError
from edgekit.quantities import parse_latency_ms, parse_size_bytes

__all__ = ["serve"]

NEEDED = (
    ("fastapi", "fastapi"),
    ("uvicorn", "uvicorn"),
    ("prometheus_client", "prometheus-client"),
    ("python_multipart", "python-multipart"),
)
"""Modules and packages of the extra."""

EPILOG = """\b
Example:
  edgekit serve out/bundle
  curl -H 'Content-Type: image/png' --data-binary @cat.png http://127.0.0.1:8000/predict
"""


def _read_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    return None if text is None else parse_size_bytes(text)


def _read_wait(context: click.Context, parameter: click.Parameter, text: str) -> float:
    return 0.0 if text.strip() in ("0", "0ms") else parse_latency_ms(text)


@click.command(epilog=EPILOG)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to bind; 0.0.0.0 for all of them: give a --token then.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free."
)
@click.option(
    "--token",
    envvar="EDGEKIT_TOKEN",
    metavar="TEXT",
    help="Asked for in Authorization: Bearer, but at /health. EDGEKIT_TOKEN keeps it out of the process list.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Models that answer side by side.",
)
@click.option(
    "--max-request",
    callback=_read_size,
    metavar="SIZE",
    help="Largest body, as 16MB.  [default: what the model's inputs need]",
)
@click.option(
    "--queue",
    type=click.IntRange(1, 100_000),
    default=128,
    show_default=True,
    help="Requests that may wait; the next one gets 503 with Retry-After.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    help="Samples that share a run, where the model's first axis is free; 1 never.",
)
@click.option(
    "--max-wait-ms",
    "max_wait_ms",
    callback=_read_wait,
    default="0",
    show_default=True,
    metavar="MS",
    help="How long a sample waits for others to share its run.",
)
def serve(
    bundle: Path,
    host: str,
    port: int,
    token: str | None,
    workers: int,
    max_request: int | None,
    queue: int,
    max_batch: int,
    max_wait_ms: float,
) -> int:
    """Answer over HTTP by a bundle's artifact until Ctrl-C or SIGTERM: /predict, /docs, /metrics, /health, a page."""
    if token is not None and not token.strip():
        raise UserError("--token is empty", remedy="give one, or leave the option out")
    for module, package in NEEDED:
        if find_spec(module) is None:
            raise MissingExtraError(package, "serve")
    from edgekit.serving import ServeOptions
    from edgekit.serving import serve as run

    options = ServeOptions(host, port, token or "", workers, max_request, queue, max_batch, max_wait_ms)
    return run(bundle, options, lambda line: click.echo(line, err=True))
