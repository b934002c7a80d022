"""A bundle behind a socket until somebody stops it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from edgekit.api import load
from edgekit.errors import UserError
from edgekit.serving.app import make_app
from edgekit.serving.service import Service, ServiceLimits, default_max_request_bytes

__all__ = ["ServeOptions", "serve"]

KEEP_ALIVE_S = 30
BACKLOG = 2048
SWITCH_S = 1e-4
"""How long the event loop may keep the interpreter from a model that has answered; Python's own 5 ms is longer than
many an inference."""


@dataclass(frozen=True)
class ServeOptions:
    """`max_request_bytes`: None for what the model's inputs need. `port` 0: any that is free."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    workers: int = 1
    max_request_bytes: int | None = None
    queue: int = 128
    max_batch: int = 8
    max_wait_ms: float = 0.0


class _Server(uvicorn.Server):
    """uvicorn would end the process by the signal that came, once all is answered; a stop that was asked for is 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(bundle: Path, options: ServeOptions, tell: Callable[[str], None]) -> int:
    """SampleAnswer until SIGTERM or Ctrl-C; then finish what is queued. A second Ctrl-C waits for nothing. Gives 0.

    tell: takes the lines for the terminal. Raises BundleError, MissingExtraError, and UserError for an address that
    cannot be bound.
    """
    with _bound(options.host, options.port) as listening:
        models = [load(bundle)]
        models += [load(bundle) for _ in range(options.workers - 1)]
        limits = ServiceLimits(
            options.max_request_bytes or default_max_request_bytes(models[0]),
            options.queue,
            max_batch=options.max_batch,
            max_wait_ms=options.max_wait_ms,
        )
        service = Service(models, "/".join(bundle.absolute().parts[-2:]), limits)
        app = make_app(service, options.token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws="none",
            lifespan="on",
            backlog=BACKLOG,
        )
        for line in _opening_lines(service, options, listening.getsockname()[1]):
            tell(line)
        sys.setswitchinterval(SWITCH_S)
        _Server(config).run(sockets=[listening])
    tell(f"stopped; {service.answered} requests were answered")
    return 0


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound before anything is loaded. Raises UserError."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as problem:
        raise UserError(
            f"--host {host} is no address of this machine", remedy="as 127.0.0.1 or 0.0.0.0"
        ) from problem
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                raise UserError(
                    f"port {port} is in use", remedy="--port takes another, 0 any that is free"
                ) from problem
            raise UserError(f"{host} port {port} cannot be bound: {problem.strerror}") from problem
        yield listening


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _opening_lines(service: Service, options: ServeOptions, port: int) -> Iterator[str]:
    limits = service.limits
    shown = f"[{options.host}]" if ":" in options.host else options.host
    yield f"{service.name} answers at http://{shown}:{port} (/predict, /docs, /metrics, /health; / is a page to try)"
    together = (
        f"up to {limits.max_batch} samples share a run"
        if not service.alone
        else f"one by one: {service.alone}"
    )
    yield (
        f"{len(service.models)} model{'s' if len(service.models) > 1 else ''}, {together}; "
        f"requests up to {limits.max_request_bytes / 1e6:g} MB, {limits.queue} at a time"
    )
    if not is_loopback(options.host) and not options.token:
        yield f"warning: everybody who reaches {options.host} can ask; --token keeps others out"
