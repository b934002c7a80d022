"""`edgekit build`."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import preprocess_options, read_preprocess
from edgekit.precisions import PRECISIONS
from edgekit.quantities import parse_fraction, parse_latency_ms, parse_seconds, parse_size_bytes, read_drop
from edgekit.types import Budget
from edgekit.types.measurements import LARGEST_SEED

__all__ = ["build"]

OFFERED = tuple(row.name for row in PRECISIONS.values() if row.is_offered)
EXIT_CODES = {"MEETS": 0, "MISSES": 3, "INFEASIBLE": 3, "PROVISIONAL": 4}

EPILOG = """\b
Examples:
  edgekit build --target generic-cpu --data digits \\
      --model net.py:make --weights net.safetensors --max-latency 0.5ms
  edgekit build --target intel-cpu --model net.onnx --data val.npz \\
      --input-layout nhwc --scale 255 --max-latency auto --max-drop 0.5%
\b
Exit codes: 0 the budget is met, 3 it is missed or cannot be met, 4 the board
is not here and nothing is settled, 2 something in the command is wrong,
130 stopped (run it again to go on).
"""


def positive(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """A positive number, or nothing."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value:g}; allowed: a number above 0")
    return value


@click.command(epilog=EPILOG)
@click.option("--target", required=True, help="The board; `edgekit targets` lists them.")
@click.option("--model", required=True, help="net.py:factory, package.module:factory, .pt2 or .onnx.")
@click.option("--weights", type=click.Path(path_type=Path), help=".safetensors or .pt for a factory.")
@click.option("--data", required=True, help=".npz, image folder, file.py:factory, or `digits`.")
@click.option(
    "--classes", type=click.Path(path_type=Path), help="A text file of the classes' names, in label order."
)
@click.option("--max-latency", default="auto", show_default=True, help="As 2ms or 800us; auto: the fastest.")
@click.option("--percentile", type=click.Choice(["p50", "p90", "p99"]), default="p90", show_default=True)
@click.option("--max-drop", default="1%", show_default=True, help="Accuracy that may be lost: 1% or 0.01.")
@click.option("--max-size", help="Of the artifact, as 2MB.")
@click.option("--max-memory", help="Peak of the process that runs it, as 200MB.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--recipe", help="Calibration recipe to begin with; a file's name in calibration/.")
@click.option("--precision", help=f"Only these, separated by commas: {','.join(OFFERED)}.")
@click.option("--metric", default="top1", show_default=True, help="top1, top5, or file.py:function.")
@click.option(
    "--calibration-samples",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Set aside; a recipe uses as many as it says.",
)
@click.option("--no-prune", is_flag=True, help="Quantize only; no training.")
@click.option("--epochs", type=float, callback=positive, help="Of the last fine-tuning.  [default: 12]")
@click.option("--learning-rate", type=float, callback=positive, help="Peak of the one-cycle schedule.")
@click.option(
    "--temperature",
    type=float,
    callback=positive,
    default=4.0,
    show_default=True,
    help="T of the distillation.",
)
@click.option(
    "--alpha", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Share of the labels."
)
@click.option(
    "--importance",
    type=click.Choice(["magnitude", "taylor", "activation"]),
    default="activation",
    show_default=True,
    help="What decides which channels go.",
)
@click.option("--prune-step", default="10%", show_default=True, help="Share of the MACs that a step removes.")
@click.option("--loss", help="Your own loss: file.py:function.")
@click.option("--train-step", help="Your own training step: file.py:function.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where pruned networks are trained.",
)
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True)
@click.option("--time-limit", help="Of the whole build, as 30m; training is cut to fit.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("edgekit-out"), show_default=True)
@click.option("--store", type=click.Path(path_type=Path), default=Path(".edgekit"), show_default=True)
@click.option(
    "--allow-weak-original", is_flag=True, help="Also build a network that is no better than a guess."
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the summary.")
@preprocess_options
@click.pass_obj
def build(given: tuple[str, ...] | None, /, **options: Any) -> int:
    """Find the most accurate build that meets a budget on a board.

    Prunes, distils and quantizes; measures each candidate on the board; writes OUT/result.json, OUT/bundle and
    OUT/report.html. Run the same command again to go on after a stop: everything finished is kept.
    """
    from edgekit.api import build_request
    from edgekit.building import BuildRequest, TrainOptions
    from edgekit.report.progress import RichReporter

    limit = options["max_latency"]
    budget = Budget(
        max_latency_ms=None if limit == "auto" else parse_latency_ms(limit),
        fastest=limit == "auto",
        percentile=options["percentile"],
        max_drop=read_drop(options["max_drop"]),
        max_size_bytes=parse_size_bytes(options["max_size"]) if options["max_size"] else None,
        max_memory_bytes=parse_size_bytes(options["max_memory"]) if options["max_memory"] else None,
    )
    train = TrainOptions(
        epochs=options["epochs"],
        learning_rate=options["learning_rate"],
        temperature=options["temperature"],
        alpha=options["alpha"],
        importance=options["importance"],
        step_ratio=parse_fraction(options["prune_step"]),
        device=options["device"],
        loss=options["loss"],
        step=options["train_step"],
    )
    request = BuildRequest(
        target=options["target"],
        model=options["model"],
        weights=options["weights"],
        data=options["data"],
        budget=budget,
        preprocess=read_preprocess(options),
        threads=options["threads"],
        recipe=options["recipe"],
        precisions=read_precisions(options["precision"]),
        prune=not options["no_prune"],
        train=train,
        metric=options["metric"],
        calibration_samples=options["calibration_samples"],
        seed=options["seed"],
        time_limit_s=parse_seconds(options["time_limit"]) if options["time_limit"] else None,
        out=options["out"],
        store=options["store"],
        classes=options["classes"],
        allow_weak_original=options["allow_weak_original"],
        command=shlex.join(["edgekit", *(given or ())]),
    )
    result = build_request(request, RichReporter())
    if options["as_json"]:
        click.echo((request.out / "result.json").read_text())
    else:
        from edgekit.console import make_console
        from edgekit.report import print_summary

        print_summary(result, make_console(), request.out)
    return EXIT_CODES[result.verdict]


def read_precisions(text: str | None) -> Any:
    """`int8,fp16` → ("int8", "fp16"). Raises UserError for a name that is not a precision."""
    from edgekit.errors import UserError

    if text is None:
        return None
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in OFFERED:
            raise UserError(f"--precision {text}: {name!r} is not a precision", allowed=", ".join(OFFERED))
    return names
