"""The front door in Python: `edgekit.build(...)`, as the command line goes it, `preview(...)` and `load(bundle)`."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.arguments import (
    read_function,
    read_names,
    read_preprocessing,
    read_quantity,
    read_training,
    refuse_unknown,
)
from edgekit.building.methods import with_methods
from edgekit.building.pipeline import read_pipeline, with_pipeline
from edgekit.building.preview import preview_build
from edgekit.building.request import (
    BuildRequest,
    TrainOptions,
    read_blocks,
    read_features,
    read_low_rank,
    read_sparsity,
    read_teachers,
)
from edgekit.building.run import run_build
from edgekit.errors import BudgetError, BundleError, MissingExtraError, UserError
from edgekit.files import only_one_in
from edgekit.plan_text import ShownPreview, shown
from edgekit.progress import Reporter, SilentReporter
from edgekit.quantities import read_confidence, read_drop, read_input_shapes
from edgekit.report import stored_drawings, write_report
from edgekit.result import Result, load_result, located
from edgekit.types import Budget, Preprocess

if TYPE_CHECKING:
    from edgekit.board import Model

__all__ = ["build", "build_request", "load", "preview"]

OTHER_OPTIONS = (
    "percentile",
    "threads",
    "prune",
    "drop",
    "merge",
    "compress",
    "pipeline",
    "low_rank",
    "sparsity",
    "student",
    "student_weights",
    "student_features",
    "student_relations",
    "student_attention",
    "student_channels",
    "teachers",
    "latency_table",
    "qat",
    "classes",
    "seed",
    "recipe",
    "input_shapes",
    "calibration_samples",
    "allow_weak_original",
    "executor",
    "timed_s",
    "repeat",
)
"""Fields of `BuildRequest` and `Budget` that a caller gives beside the named arguments."""


def build_request(request: BuildRequest, reporter: Reporter | None = None) -> Result:
    """Run `request` and write `result.json`, the bundle and `report.html` into `request.out`.

    Of builds that share it the last to finish has all three.
    """
    result = run_build(request, reporter or SilentReporter())
    with only_one_in(request.out):
        if load_result(request.out).run.id == result.run.id:
            write_report(result, request.out / "report.html", stored_drawings(request.store))
    return located(result, request.out)


def build(
    *,
    target: str,
    model: Any,
    data: Any,
    max_latency: str | float | None = None,
    max_drop: float | str | None = "1%",
    confidence: float | str | None = None,
    max_size: str | float | None = None,
    max_memory: str | float | None = None,
    max_energy: str | float | None = None,
    time_limit: str | float | None = None,
    metric: str | Callable[..., Any] | None = None,
    loss: str | Callable[..., Any] | None = None,
    step: str | Callable[..., Any] | None = None,
    train: TrainOptions | Mapping[str, Any] | None = None,
    precision: str | Iterable[str] | None = None,
    runtime: str | Iterable[str] | None = None,
    preprocess: Preprocess | Mapping[str, Any] | str | Path | None = None,
    weights: str | Path | None = None,
    out: str | Path = "edgekit-out",
    store: str | Path = ".edgekit",
    quiet: bool = False,
    reporter: Reporter | Literal["lines"] | None = None,
    **options: Any,
) -> Result:
    """Find the most accurate build of `model` that meets the budget on `target`.

    model: a path (`net.py:make`, .pt2, .onnx) or a trained `torch.nn.Module`. data: a path, a built-in name, arrays or
    tensors (x [N, ...], y [N]) or x alone, a torch Dataset or DataLoader (taken in the data set's order), a dict of
    these by part ("train", "val", "test"), or a `DataSource`.

    Quantities are texts as on the command line, "25ms", "2MB", "5mJ", "30m", or numbers in milliseconds, bytes,
    millijoules, seconds.
    Without `max_latency` (or with "auto") the fastest within `max_drop` is sought: "1%" or 0.01 for one point; a number
    above 0.3 is refused, "50%" is not. With a `confidence`, as "95%", the drop's whole interval must lie under
    `max_drop`. `metric`, `loss` and `step` are functions or `file.py:function`: a metric of (outputs by name as
    arrays, labels) gives one score per sample or one for all, a loss of (outputs, labels) or (outputs, labels,
    teacher_outputs) a scalar tensor, see `edgekit help metric` and so on; `train` a dict
    of the fields of `TrainOptions`, as {"epochs": 4, "learning_rate": 0.02}; `preprocess` one of the fields of
    `Preprocess`, as {"input_layout": "nhwc", "scale": 255}, or a TOML file. `options`: the other fields of
    `BuildRequest` and `Budget` (percentile, threads, prune, drop, merge, classes, seed, …); `input_shapes` may be
    "x=1x3x320x320" or {"x": (1, 3, 320, 320)}; `weights_prefix` and `weights_key` say which weights of a file count;
    `drop` names residual blocks that a variant of its own goes without, "blocks.3,blocks.7", a list, or "auto:2";
    `merge` modules whose convolutions become one in it.
    `low_rank` has layers factorized in a variant of its own, "auto", 0.9 (of each layer's output variance) or ranks,
    {"fc1": 32, "conv2": (16, 16)}; `sparsity` makes weights zero in a variant of its own, "2:4" or 0.8 of them;
    `student` is another network, `net.py:make_small` or a live module, that learns
    from `model` and is built as any variant, from its own weights or `student_weights`; `student_features` are layers
    of `model` and of the student, {"layer2": "blocks.1"}, whose outputs it learns too, `student_relations` those where
    samples are to lie to each other alike, `student_attention` those that are to look at the same places,
    `student_channels` those whose channels are to be active at the same places; `teachers` are networks that teach
    in the place of `model`, by their weights, {"net.py:make_big": 0.7, "other.onnx": 0.3};
    `qat`, "auto", "always" or "never", says when a network is trained for a runtime's own integers; `compress` names
    the methods that may be used, "prune,qat", "none" or "auto"; `pipeline` is a TOML file of stages, or a list, as
    [{"method": "distil", "network": "net.py:make_small"}, {"method": "prune", "macs": 0.5}], in the place of all
    these.

    Progress is drawn on a terminal or in a notebook, unless `quiet`; `reporter` takes it instead, and "lines" writes
    it to standard error wherever that goes, as the log of a batch job.

    Raises UserError, with the command line's own line, for input that cannot be used, before any work; Interrupted
    when stopped.

    Example: `edgekit.build(target="generic-cpu", model=net, data=(x, y), max_latency="2ms")`
    """
    return build_request(*_asked(locals()))


def preview(**arguments: Any) -> ShownPreview:
    """What `build` with the same arguments would try, roughly how long, and the original's own score.

    Shown in words, as `edgekit build --plan` prints it. Nothing is trained, nothing is written but the store. Raises
    what `build` raises before any work.

    Example: `edgekit.preview(target="raspberry-pi-4", model=net, data=(x, y), max_latency="20ms")`
    """
    bound = inspect.signature(build).bind(**arguments)
    bound.apply_defaults()
    return shown(preview_build(*_asked(bound.arguments)))


def _asked(given: Mapping[str, Any]) -> tuple[BuildRequest, Reporter]:
    """The arguments of `build` by name, read, and who takes the progress. Raises UserError."""
    options = dict(given["options"])
    quantities = _quantities(given, options)
    if "plan" in options:
        remedy = "edgekit.preview(...) takes the same arguments, and only says what would be tried"
        raise UserError("build() has no argument 'plan'", remedy=remedy)
    known = [
        "compress",
        *(field.name for kind in (Budget, BuildRequest) for field in dataclasses.fields(kind)),
    ]
    refuse_unknown("build() has no argument", options, known, shown=_argument_names())
    time_limit_s = quantities.pop("time_limit_s")
    metric, weights = given["metric"], given["weights"]
    budget = Budget(
        fastest=quantities["max_latency_ms"] is None,
        max_drop=read_drop(given["max_drop"], metric if isinstance(metric, str) else None),
        confidence=read_confidence(given["confidence"]),
        **quantities,
        **{
            field.name: options.pop(field.name)
            for field in dataclasses.fields(Budget)
            if field.name in options
        },
    )
    loss, step = (read_function(name, given[name]) for name in ("loss", "step"))
    precisions, backends = (options.pop(name, None) for name in ("precisions", "backends"))
    methods, stages = options.pop("compress", None), read_pipeline(options.pop("pipeline", None))
    request = BuildRequest(
        target=given["target"],
        model=given["model"],
        data=given["data"],
        budget=budget,
        metric=read_function("metric", metric),
        train=read_training(given["train"], loss=loss, step=step),
        precisions=read_names("precision", precisions if given["precision"] is None else given["precision"]),
        backends=read_names("runtime", backends if given["runtime"] is None else given["runtime"]),
        preprocess=read_preprocessing(given["preprocess"]),
        weights=_path(weights),
        time_limit_s=time_limit_s,
        input_shapes=read_input_shapes(options.pop("input_shapes", ())),
        drop=read_blocks(options.pop("drop", None)),
        merge=read_blocks(options.pop("merge", None), "merge"),
        low_rank=read_low_rank(options.pop("low_rank", None)),
        sparsity=read_sparsity(options.pop("sparsity", None)),
        student_weights=_path(options.pop("student_weights", None)),
        student_features=read_features(options.pop("student_features", None)),
        student_relations=read_features(options.pop("student_relations", None), "student_relations"),
        student_attention=read_features(options.pop("student_attention", None), "student_attention"),
        student_channels=read_features(options.pop("student_channels", None), "student_channels"),
        teachers=read_teachers(options.pop("teachers", None)),
        out=Path(given["out"]),
        store=Path(given["store"]),
        **options,
    )
    request = with_methods(with_pipeline(request, stages, methods), methods)
    return request, _reporter(given["reporter"], given["quiet"])


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _quantities(given: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Limits in base units by their fields, from the arguments, or from `options`, which loses them."""
    fields = {
        "max_latency": "max_latency_ms",
        "max_size": "max_size_bytes",
        "max_memory": "max_memory_bytes",
        "max_energy": "max_energy_mj",
        "time_limit": "time_limit_s",
    }
    quantities: dict[str, Any] = {}
    for name, field in fields.items():
        value = given[name]
        if value is not None and options.get(field) is not None:
            raise BudgetError(f"{name} and {field} are both given", remedy="give one of them")
        base = options.pop(field, None)
        quantities[field] = base if value is None else read_quantity(name, value)
    return quantities


def _argument_names() -> list[str]:
    """What a caller of `build` writes, beside target, model and data; a budget's fields by their arguments' names."""
    named = [name for name in inspect.signature(build).parameters if name not in ("target", "model", "data")]
    return [*(name for name in named if name not in ("options", "reporter")), *OTHER_OPTIONS]


def _reporter(given: Reporter | str | None, quiet: bool) -> Reporter:
    """What takes the progress. Raises UserError for a name that is not known."""
    if given is None:
        return _default_reporter(quiet)
    if not isinstance(given, str):
        return given
    if given != "lines":
        raise UserError(f"reporter is {given!r}", allowed='"lines", or an object with step() and say()')
    from edgekit.report.progress import RichReporter

    return RichReporter()


def _default_reporter(quiet: bool) -> Reporter:
    """Draws where somebody sees it."""
    from rich.console import Console

    if quiet or not (sys.stderr.isatty() or Console(stderr=True).is_jupyter):
        return SilentReporter()
    from edgekit.report.progress import RichReporter

    return RichReporter()


def load(bundle: str | Path | Result) -> Model:
    """A bundle (or the output folder of a build, or its result) ready to answer: `edgekit.load("out").predict(x)`.

    Raises BundleError for what is no bundle of one artifact or was changed, MissingExtraError for a runtime that is not
    installed, and what `board.Model` says of samples that do not fit.
    """
    from edgekit.board import Model

    if not isinstance(bundle, (str, Path, Result)):
        raise BundleError(
            f"load() is given a {type(bundle).__name__}",
            allowed="a build's result, its output folder, or a bundle's folder",
        )
    folder = bundle.bundle if isinstance(bundle, Result) else Path(bundle)
    if folder is None:
        raise BundleError("this build has no bundle", remedy="result.explanation says why")
    if not (folder / "manifest.json").exists() and (folder / "bundle" / "manifest.json").exists():
        folder = folder / "bundle"
    try:
        return Model(folder)
    except ImportError as problem:
        raise MissingExtraError(problem.name or "the runtime", "all") from problem
    except (OSError, ValueError, RuntimeError) as problem:
        raise BundleError(str(problem)) from problem
