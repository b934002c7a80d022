"""`edgekit build`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

from edgekit.cli.config import config_option, in_effect
from edgekit.cli.fleet import asked_devices, build_fleet
from edgekit.cli.options import input_shape_option, preprocess_options, weights_options
from edgekit.cli.reporting import reporter_of, reporting_options
from edgekit.errors import UserError
from edgekit.precisions import OFFERED
from edgekit.runtimes import RUNTIMES
from edgekit.types import METHODS, QatChoice, SaliencyName
from edgekit.types.measurements import LARGEST_SEED, TIMED_S

__all__ = ["build"]

EXIT_CODES = {"MEETS": 0, "MISSES": 3, "INFEASIBLE": 3, "PROVISIONAL": 4}

EPILOG = """\b
Examples:
  edgekit build --target generic-cpu --data digits \\
      --model net.py:make --weights net.safetensors --max-latency 0.5ms
  edgekit build --target intel-cpu --model net.onnx --data val.npz \\
      --input-layout nhwc --scale 255 --max-latency auto --max-drop 0.5%
  edgekit build --target raspberry-pi-4 --device ssh://pi@10.0.0.5 ...
\b
Functions of your own (model, data, metric, loss, step), how data is stored, and
preprocessing: edgekit help TOPIC.
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
@click.option(
    "--target", required=True, help="The board; `edgekit targets` lists them. auto: what this machine is."
)
@click.option("--model", required=True, help="net.py:factory, package.module:factory, .pt2 or .onnx.")
@weights_options
@click.option("--data", required=True, help=".npz, image folder, file.py:factory, or `digits`.")
@click.option(
    "--classes", type=click.Path(path_type=Path), help="A text file of the classes' names, in label order."
)
@click.option(
    "--max-latency",
    default="auto",
    show_default=True,
    help="As 2ms, 800us, or 2 (milliseconds); auto: the fastest.",
)
@click.option("--percentile", type=click.Choice(["p50", "p90", "p99"]), default="p90", show_default=True)
@click.option(
    "--max-drop",
    default="1%",
    show_default=True,
    help="What the metric may lose: 1% or 0.01; of rmse and mae what they may gain, in the labels' unit: 0.05.",
)
@click.option(
    "--confidence", help="As 95%: the drop's whole interval must lie under --max-drop, not only its value."
)
@click.option("--max-size", help="Of the artifact, as 2MB or 200k; a bare number is bytes.")
@click.option(
    "--max-memory", help="Peak of the process that runs it, as 200MB or 200M; the board must have it free."
)
@click.option(
    "--max-energy", help="Of one inference beyond the idle board, as 5mJ; the board has to tell its power."
)
@click.option(
    "--meter", help="A command that prints the board's power in watts, where the board does not tell it."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--recipe", help="Calibration recipe to begin with; a file's name in calibration/.")
@click.option("--precision", help=f"Only these, separated by commas: {','.join(OFFERED)}.")
@click.option("--runtime", help=f"Only these, separated by commas: {','.join(RUNTIMES)}.")
@click.option(
    "--metric",
    help="top1, top5, balanced_accuracy, macro_f1, roc_auc, miou, r2, rmse, mae, cosine, map:file.py:decoder of boxes, "
    "or file.py:function of (outputs, labels); "
    "without labels of (outputs, the original's outputs).  [default: by the labels: top1, miou or r2]",
)
@click.option(
    "--calibration-samples",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Set aside; a recipe uses as many as it says.",
)
@click.option(
    "--compress",
    metavar="METHODS",
    help=f"Only these methods, with commas between: {', '.join(METHODS)}; or none, or auto: what the budget needs.  "
    "[default: auto]",
)
@click.option(
    "--pipeline",
    type=click.Path(path_type=Path),
    help="A TOML file of methods in order, each with its options, in the place of the options that name methods.",
)
@click.option(
    "--no-prune/--prune",
    help="Quantize only; no training but what --low-rank, --sparsity and --student ask for.",
)
@click.option(
    "--drop",
    metavar="BLOCKS",
    help="Also train a variant without these residual blocks, as blocks.3,blocks.7; auto:2: "
    "the two that matter least.",
)
@click.option(
    "--merge",
    metavar="BLOCKS",
    help="In that variant, make one convolution of those in each of these modules, as blocks.3,blocks.7: the "
    "activations between them go.",
)
@click.option(
    "--low-rank",
    metavar="auto|SHARE|RANKS",
    help="Also train a variant whose layers are products of smaller ones, where the board runs them faster. SHARE: of "
    "the variance of a layer's outputs that is kept, as 0.9; RANKS: as fc1=32,conv2=16x16 (channels in x out).",
)
@click.option(
    "--sparsity",
    metavar="2:4|SHARE",
    help="Also train a variant with zeros among its weights: 2:4, as sparse tensor cores read them, or a share of them "
    "anywhere, as 0.8; only where a runtime of the board gets faster by it, or --max-size smaller files.",
)
@click.option(
    "--saliency",
    type=click.Choice(get_args(SaliencyName)),
    default="magnitude",
    show_default=True,
    help="What a weight is worth there: its magnitude, or what it would cost by a diagonal Hessian (Optimal Brain "
    "Damage).",
)
@click.option(
    "--rewind",
    is_flag=True,
    help="There: once the zeros are found, train the other weights again from where they began (twice the training).",
)
@click.option(
    "--student",
    metavar="NET",
    help="Also train this network, net.py:factory, with the model as its teacher, and build it as any variant.",
)
@click.option(
    "--student-weights",
    type=click.Path(path_type=Path),
    help="What the student begins with.  [default: as its factory makes it]",
)
@click.option(
    "--student-features",
    metavar="PAIRS",
    help="Layers of the model whose outputs the student learns too, and its own, as layer2=blocks.1,layer4=blocks.3.",
)
@click.option(
    "--student-relations",
    metavar="PAIRS",
    help="Such layers where the samples of a batch are to lie to each other as in the model: distances and angles.",
)
@click.option(
    "--student-attention",
    metavar="PAIRS",
    help="Such layers that are to look at the same places: images of convolutions, or an attention's softmax.",
)
@click.option(
    "--student-channels",
    metavar="PAIRS",
    help="Such layers whose channels are to be active at the same places, as in detectors and of masks (channel-wise "
    "distillation).",
)
@click.option(
    "--teacher",
    "teachers",
    metavar="NET[:FILE][@WEIGHT]",
    multiple=True,
    help="Who teaches in the place of the model, net.py:factory, with a file of its weights as "
    "net.py:make:big.safetensors, or an ONNX file; several by how much each counts, as net.py:big@0.7.",
)
@click.option(
    "--latency-table",
    metavar="FILE|auto",
    help="Choose widths and blocks together by the times of layers, from `edgekit latency measure`, and where INT8 "
    "loses too much, the layers in float; auto: times are measured now, and kept.  [default: one width for all, by "
    "MACs; the most sensitive layers in float]",
)
@click.option(
    "--qat",
    type=click.Choice(get_args(QatChoice)),
    default="auto",
    show_default=True,
    help="Train for a runtime's own integers (quantization-aware); auto: where no INT8 build of it keeps --max-drop.",
)
@click.option("--qat-epochs", type=float, callback=positive, help="Of that training.  [default: 6]")
@click.option("--epochs", type=float, callback=positive, help="Of the last fine-tuning.  [default: 12]")
@click.option(
    "--optimizer",
    type=click.Choice(["auto", "sgd", "adamw"]),
    default="auto",
    show_default=True,
    help="auto: AdamW where the network has layer norms or attends, else SGD.",
)
@click.option(
    "--learning-rate",
    type=float,
    callback=positive,
    help="Peak of the one-cycle schedule.  [default: of SGD 0.05, of AdamW 0.0005]",
)
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
    "--outputs",
    metavar="KIND|KINDS",
    default="auto",
    show_default=True,
    help="What outputs are, for how they are learnt: logits, values, embedding, maps, or a detector's scores and "
    "boxes. One word for all but that which class numbers are for, or one for each in order, as scores,boxes.",
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
    "--train-on",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where pruned networks are trained.",
)
@click.option(
    "--device",
    "devices",
    metavar="DEVICE",
    multiple=True,
    help="The board that measures: ssh://user@host[:port], or a name of `edgekit device list`; "
    "of several each gets its own build.  [default: this machine]",
)
@click.option(
    "--executor",
    metavar="NAME",
    default="process",
    show_default=True,
    help="Where networks are exported, checked and trained: process (this machine), ray, ray://HOST:PORT.",
)
@click.option("--fleet", metavar="LABEL", help="All named devices with that label.")
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True)
@click.option("--time-limit", help="Of the whole build, as 30m; training is cut to fit.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("edgekit-out"), show_default=True)
@click.option("--store", type=click.Path(path_type=Path), default=Path(".edgekit"), show_default=True)
@click.option(
    "--allow-weak-original", is_flag=True, help="Also build a network that is no better than a guess."
)
@click.option("--timed", default=f"{TIMED_S:g}s", show_default=True, help="Timed runs of each candidate.")
@click.option("--no-repeat", is_flag=True, help="Tell a noisy measurement instead of making it again.")
@click.option(
    "--strict", is_flag=True, help="Refuse throttled or drifting measurements instead of marking them."
)
@click.option(
    "--plan",
    is_flag=True,
    help="Only say what would be tried, how long it would take, and the original's score.",
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the summary.")
@click.option("--raw", is_flag=True, help="With the single timings in what --json prints.")
@reporting_options
@config_option
@input_shape_option
@preprocess_options
@click.pass_context
def build(context: click.Context, /, **options: Any) -> int:
    """Find the most accurate build that meets a budget on a board.

    Prunes, distils and quantizes; measures each candidate on the board; writes OUT/result.json, OUT/bundle and
    OUT/report.html. Run the same command again to go on after a stop: everything finished is kept.
    """
    from edgekit.cli.request import read_request

    refuse_contradictions(options)
    devices = asked_devices(options)
    request = read_request({**options, "device": devices[0]}, in_effect(context, context.obj or ()))
    if len(devices) > 1 and not options["plan"]:
        return build_fleet(devices, context.obj or (), options)
    reporter = reporter_of(options, request.store)
    if options["plan"]:
        from edgekit.building.preview import preview_build
        from edgekit.cli.plan import print_preview

        print_preview(preview_build(request, reporter), as_json=options["as_json"])
        return 0
    from edgekit.api import build_request

    result = build_request(request, reporter)
    if options["as_json"]:
        from edgekit.cli.result_json import result_json

        click.echo(result_json(result, raw=options["raw"]))
    else:
        from edgekit.console import make_console
        from edgekit.report import print_summary

        print_summary(result, make_console(), request.out)
    return EXIT_CODES[result.verdict]


def refuse_contradictions(options: Mapping[str, Any]) -> None:
    """Raises UserError for options that exclude each other."""
    if options["quiet"] and options["verbose"]:
        raise UserError("--quiet and --verbose exclude each other", allowed="one of them")
    if options["raw"] and not options["as_json"]:
        raise UserError("--raw is for what --json prints", remedy="give both, or read OUT/result.json")
