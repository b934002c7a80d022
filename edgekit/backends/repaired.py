"""An INT8 request whose recipe repairs the network first, as the request for the repaired network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.quantize.repair import repaired_network, without_repairs

if TYPE_CHECKING:
    from edgekit.backends.base import ExportRequest
    from edgekit.quantize import Scheme

__all__ = ["on_repaired"]

Result = TypeVar("Result")


def on_repaired(
    integers: Callable[[ExportRequest], Scheme],
) -> Callable[[Callable[[Any, ExportRequest], Result]], Callable[[Any, ExportRequest], Result]]:
    """A backend's `plan` and `export` see the network as the recipe repairs it. `integers`: those of a request; raises
    StageError for a repair that the runtime cannot honour."""

    def decorated(method: Callable[[Any, ExportRequest], Result]) -> Callable[[Any, ExportRequest], Result]:
        @wraps(method)
        def call(backend: Any, request: ExportRequest) -> Result:
            with repaired(request, integers) as ready:
                return method(backend, ready)

        return call

    return decorated


@contextmanager
def repaired(request: ExportRequest, integers: Callable[[ExportRequest], Scheme]) -> Iterator[ExportRequest]:
    """The request for the repaired network, whose file lasts as long as the context; another as it is."""
    recipe, data = request.recipe, request.calibration
    if request.candidate.precision != "int8" or recipe is None or data is None or not recipe.repairs:
        yield request
        return
    content = repaired_network(
        Path(request.variant.onnx_path),
        recipe,
        integers(request),
        data,
        memo=request.memo,
        threads=request.threads,
    )
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "repaired.onnx"
        path.write_bytes(content)
        variant = replace(request.variant, onnx_path=str(path))
        yield replace(request, variant=variant, recipe=without_repairs(recipe))
