"""Runtime's name → its backend and its reader, loaded when asked for."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingExtraError, ModelError, UserError
from edgekit.runtimes import RUNTIMES, RuntimeRow, near_runtimes

if TYPE_CHECKING:
    from edgekit.backends.base import Backend
    from edgekit.backends.tensors import Reader
    from edgekit.types import Artifact, BackendName

__all__ = ["get_backend", "open_reader", "simulated", "usable_backends"]


def get_backend(name: BackendName) -> Backend:
    """The backend of that name; its runtime need not be installed. Raises UserError for a name not in RUNTIMES."""
    backend: Backend = _load(_row(name).backend)()
    return backend


def open_reader(artifact: Artifact, threads: int = 1) -> Reader:
    """The artifact with its tensors shown, in a runtime of this machine (`Backend.on_host`).

    Raises ModelError when it cannot be opened, MissingExtraError.
    """
    artifact = get_backend(artifact.backend).on_host(artifact)
    row = _row(artifact.backend)
    if row.reader is None:
        raise ModelError(f"{row.title} does not show what lies between the layers of {artifact.entry}")
    reader: Reader = _load(row.reader)(artifact, threads)
    return reader


def simulated(artifact: Artifact) -> Artifact | None:
    """The same quantized graph computed in float instead of by integer kernels; None where no runtime offers it."""
    options = _row(artifact.backend).simulation
    return None if options is None else replace(artifact, options={**artifact.options, **options})


def usable_backends() -> dict[BackendName, str | None]:
    """Backend → None where it can be used here, else what is missing with the pip line that mends it."""
    usable: dict[BackendName, str | None] = {}
    for name in RUNTIMES:
        try:
            get_backend(name).versions()
        except MissingExtraError as error:
            usable[name] = str(error)
        else:
            usable[name] = None
    return usable


def _row(name: BackendName) -> RuntimeRow:
    if name not in RUNTIMES:
        raise UserError(f'no backend "{name}"', allowed=", ".join(RUNTIMES), remedy=near_runtimes(name))
    return RUNTIMES[name]


def _load(place: tuple[str, str]) -> Any:
    """The class of that module."""
    module, name = place
    return getattr(importlib.import_module(module), name)
