"""`edgekit plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.config import config_option, in_effect
from edgekit.cli.options import input_shape_option, preprocess_options, read_preprocess, weights_options
from edgekit.cli.reporting import reporter_of, reporting_options
from edgekit.types.measurements import LARGEST_SEED

__all__ = ["plan"]

EPILOG = """\b
Example:
  edgekit latency measure --model net.py:make --input-shape 1x3x32x32 \\
      --backend litert --table pi.json --device ssh://pi@10.0.0.5
  edgekit plan --target raspberry-pi-5 --model net.py:make --weights net.safetensors \\
      --data val.npz --table pi.json --max-latency 2ms
\b
Exit codes: 0 a plan keeps within the limit, 3 none does, 2 something in the
command is wrong.
"""


@click.command(epilog=EPILOG)
@click.option("--target", required=True, help="The board, whose channel multiples are kept to.")
@click.option("--model", required=True, help="net.py:factory, package.module:factory, .pt2 or .onnx.")
@weights_options
@click.option("--data", required=True, help=".npz, image folder, file.py:factory, or `digits`.")
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    required=True,
    help="Times of layers on the board, from `edgekit latency measure`; runtime and threads are those of the table.",
)
@click.option("--max-latency", required=True, help="As 2ms, 800us, or 2 (milliseconds).")
@click.option("--max-size", help="Of the weights, as 2MB or 200k; a bare number is bytes.")
@click.option("--precision", type=click.Choice(["fp32", "int8"]), default="int8", show_default=True)
@click.option(
    "--show", type=click.IntRange(1), default=1, show_default=True, help="Which plan to tell in full."
)
@click.option(
    "--calibration-samples",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Set aside; harm is measured on up to 256 of them.",
)
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), default=Path(".edgekit"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print every plan in full, as JSON.")
@reporting_options
@config_option
@input_shape_option
@preprocess_options
@click.pass_context
def plan(context: click.Context, /, **options: Any) -> int:
    """Show what would be done to a network to reach a latency, without training it.

    Widths of channels, heads of attentions and whole blocks are chosen together by a table of measured times and by the
    harm that each change does to the outputs, measured on your data. Three to five plans are shown with their predicted
    latency, and why each group and block was touched or was not. Harm is relative: it ranks plans, and is no drop of
    accuracy.
    """
    from edgekit.building.planned import plan_network
    from edgekit.building.request import BuildRequest
    from edgekit.cli.planning_text import planned_json, print_planned
    from edgekit.latency import load_table
    from edgekit.quantities import parse_latency_ms, parse_size_bytes
    from edgekit.types import Budget

    table = load_table(options["table"])
    size = options["max_size"]
    request = BuildRequest(
        target=options["target"],
        model=options["model"],
        weights=options["weights"],
        weights_prefix=options["weights_prefix"],
        weights_key=options["weights_key"],
        data=options["data"],
        preprocess=read_preprocess(options),
        budget=Budget(
            max_latency_ms=parse_latency_ms(options["max_latency"]),
            max_size_bytes=parse_size_bytes(size) if size else None,
        ),
        calibration_samples=options["calibration_samples"],
        seed=options["seed"],
        store=options["store"],
        input_shapes=options["input_shapes"],
        command=" ".join(in_effect(context, context.obj or ())),
    )
    planned = plan_network(request, table, options["precision"], reporter_of(options, request.store))
    if options["as_json"]:
        click.echo(planned_json(planned))
    else:
        print_planned(planned, options["show"])
    return 0 if planned.proposals[0].proposal.solution.outcome == "FOUND" else 3
