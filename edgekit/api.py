"""`edgekit.build(...)`: the whole way from Python, as the command line goes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.building import BuildRequest, run_build
from edgekit.progress import Reporter, SilentReporter
from edgekit.quantities import read_drop, read_input_shapes
from edgekit.report import write_report
from edgekit.result import Result
from edgekit.types import Budget, Preprocess

if TYPE_CHECKING:
    from typing import Any

__all__ = ["build", "build_request"]


def build_request(request: BuildRequest, reporter: Reporter | None = None) -> Result:
    """Run `request` and write `result.json`, the bundle and `report.html` into `request.out`."""
    result = run_build(request, reporter or SilentReporter())
    write_report(result, request.out / "report.html")
    return result


def build(
    *,
    target: str,
    model: Any,
    data: Any,
    max_latency_ms: float | None = None,
    max_drop: float | str | None = 0.01,
    out: str | Path = "edgekit-out",
    store: str | Path = ".edgekit",
    reporter: Reporter | None = None,
    **options: Any,
) -> Result:
    """Find the most accurate build of `model` that meets the budget on `target`.

    `model` is a path (`net.py:make`, .pt2, .onnx) or a trained `torch.nn.Module`; `data` a path, a built-in
    name or arrays (x [N, ...], y int [N]). Without `max_latency_ms` the fastest within `max_drop` is sought: a
    fraction or text, 0.01 or "1%" for one point; a number above 0.3 is refused, "50%" is not. `options` are the other
    fields of `Budget` (`percentile`, `max_size_bytes`, `max_memory_bytes`) and of `BuildRequest` (`weights`,
    `threads`, `prune`, `classes`, `seed`, …); `input_shapes` may be {"x": (1, 3, 320, 320)} or "x=1x3x320x320".

    Raises UserError for input that cannot be used, Interrupted when stopped.

    Example: `edgekit.build(target="generic-cpu", model=net, data=(x, y), max_latency_ms=2.0)`
    """
    budget_fields = {name: options.pop(name) for name in tuple(options) if name in Budget.__annotations__}
    budget = Budget(
        max_latency_ms=max_latency_ms,
        fastest=max_latency_ms is None,
        max_drop=read_drop(max_drop),
        **budget_fields,
    )
    options.setdefault("preprocess", Preprocess())
    options["input_shapes"] = read_input_shapes(options.get("input_shapes", ()))
    request = BuildRequest(
        target=target, model=model, data=data, budget=budget, out=Path(out), store=Path(store), **options
    )
    return build_request(request, reporter)
