"""`edgekit lint`."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgekit.cli.network import first_sample, float_onnx, located
from edgekit.cli.options import input_shape_option, preprocess_options, weights_options
from edgekit.cli.spinner import spinner
from edgekit.errors import MissingExtraError, StageError
from edgekit.types import BackendName, Cost, Issue, Precision, Variant

if TYPE_CHECKING:
    from edgekit.building.executor import Executor
    from edgekit.hardware import Target

__all__ = ["lint"]

FOUND = 3
"""Exit code when something forbids a runtime."""
SHOWN = 3
"""Nodes named in one row of the table."""

EPILOG = """\b
Examples:
  edgekit lint net.onnx --target jetson-nano
  edgekit lint net.py:make --weights net.safetensors --input-shape 1x3x224x224 \\
      --target jetson-orin-nano --precision int8
"""


@dataclass(frozen=True)
class RuntimeLint:
    """What one runtime of the target says. `check`: which check was made. `runtime` is "" for the board itself."""

    runtime: str
    check: str
    issues: tuple[Issue, ...]


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option("--target", required=True, help="The board; `edgekit targets` lists them.")
@weights_options
@input_shape_option
@click.option("--data", help="Samples to take the shape of the inputs from.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(get_args(Precision)),
    help="Say too whether the board has it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything found as JSON.")
@preprocess_options
def lint(**options: Any) -> int:
    """What the runtimes of a board cannot take of a network, before any work.

    MODEL is an .onnx file, file.py:factory, package.module:factory or .pt2, and is read as a build reads it: for one
    sample, with the sizes of --input-shape. Told are operations, opsets, data types, memory and, on boards that have
    one, the limits of the DLA; each with its node, the reason and the usual remedy. For RTX boards, and as a stand-in
    for Jetsons, the network is compiled for real where TensorRT-RTX is installed. Ends with 0 when nothing forbids a
    runtime, with 3 when something does, with 2 when the model or an option cannot be used.
    """
    from edgekit.building.executor import DEFAULT_EXECUTOR, make_executor
    from edgekit.hardware import find_target

    target = find_target(options["target"], Path.cwd())
    with tempfile.TemporaryDirectory(prefix="edgekit-lint-") as scratch, spinner("checking"):
        network = _read(options, target, Path(scratch))
        with closing(make_executor(DEFAULT_EXECUTOR)) as executor:
            findings = _examine_all(network, target, options["precisions"], executor)
    errors, warnings = (
        sum(issue.severity == kind for finding in findings for issue in finding.issues)
        for kind in ("error", "warning")
    )
    if options["as_json"]:
        answer = {
            "schema": 1,
            "model": options["model"],
            "target": target.name,
            "errors": errors,
            "warnings": warnings,
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(answer, indent=1))
    else:
        _print(options["model"], target, findings, errors, warnings)
    return FOUND if errors else 0


@dataclass(frozen=True)
class Network:
    """The network as a build exports it; what was said of its sizes; whether the board's memory holds it."""

    path: Path
    sizes: tuple[str, ...]
    memory: tuple[Issue, ...]

    @property
    def is_too_large(self) -> bool:
        return any(issue.severity == "error" for issue in self.memory)


def _read(options: dict[str, Any], target: Target, scratch: Path) -> Network:
    """What is too large for the board is not run here, which reading it as a build does would do."""
    from edgekit.graph import read_signature
    from edgekit.graph.proto import read_model, write_model
    from edgekit.graph.sizes import fix_sizes, sizes_told

    path, sizes = scratch / "network.onnx", tuple[str, ...]()
    reference = located(options["model"], options)
    if reference.kind == "onnx":
        model = read_model(Path(reference.source))
        fix_sizes(model, Path(reference.source).name, options["input_shapes"])
        write_model(model, path)
        sizes = sizes_told(read_signature(reference.source), read_signature(path))
        network = Network(path, sizes, _memory(path, target))
        if network.is_too_large:
            return network
    float_onnx(options["model"], options, path, first_sample(options, scratch))
    return Network(path, sizes, _memory(path, target))


def _examine_all(
    network: Network, target: Target, precisions: tuple[Precision, ...], executor: Executor
) -> tuple[RuntimeLint, ...]:
    """The board first; its runtimes only where its memory holds the network, which they run once."""
    sizes = [Issue("warning", "", told, "nothing, if that is meant") for told in network.sizes]
    issues = (*_lacking(target, precisions), *sizes, *network.memory)
    board = RuntimeLint("", "precisions, shapes and memory", issues)
    if network.is_too_large:
        return board, *(
            RuntimeLint(runtime.name, "not checked: too large for the board", ())
            for runtime in target.runtimes
        )
    variant = _as_variant(network.path)
    return board, *(_examine(runtime.name, variant, target, executor) for runtime in target.runtimes)


def _as_variant(path: Path) -> Variant:
    """The network as backends know it; its cost is not asked for by any lint."""
    from edgekit.files import sha256_file
    from edgekit.graph import read_signature

    nothing = Cost(macs=0, parameters=0, weight_bytes=0, activation_bytes=0)
    return Variant("lint", "original", None, "", str(path), sha256_file(path), read_signature(path), nothing)


def _lacking(target: Target, precisions: tuple[Precision, ...]) -> list[Issue]:
    """Precisions asked for that no runtime of the board has."""
    issues = []
    for precision in precisions:
        lack = target.lacks(precision)
        if precision not in target.precisions:
            reason = lack.reason if lack else f"no runtime on {target.name} has {precision}"
            issues.append(Issue("error", "", reason, lack.instead if lack else ", ".join(target.precisions)))
    return issues


def _memory(path: Path, target: Target) -> tuple[Issue, ...]:
    """An error where the board's memory holds the network in none of its precisions, a warning where not in float."""
    from edgekit.graph import onnx_cost
    from edgekit.precisions import PRECISIONS

    cost, limit = onnx_cost(path), target.model_bytes
    if limit is None or cost.weight_bytes + cost.activation_bytes <= limit:
        return ()
    bits = min(PRECISIONS[precision].weight_bits for precision in target.precisions)
    least = cost.weight_bytes * bits // 32 + cost.activation_bytes
    need = (cost.weight_bytes + cost.activation_bytes) / 2**20
    reason = f"in float32 it needs {need:.0f} MiB; one model may use {limit / 2**20:.0f} MiB"
    remedy = "a smaller or more pruned network, or fewer bits"
    return (Issue("error" if least > limit else "warning", "", reason, remedy),)


def _examine(name: BackendName, variant: Variant, target: Target, executor: Executor) -> RuntimeLint:
    """One runtime's own lint, as a task: a runtime may die of a network."""
    from edgekit.backends import get_backend
    from edgekit.building.tasks import LintTask

    try:
        task = LintTask(variant, name, target, get_backend(name).versions())
        examination = executor.run(task, Path(variant.onnx_path).parent)
    except MissingExtraError as error:
        return RuntimeLint(name, f"not checked: {error}", ())
    except StageError as error:
        return RuntimeLint(name, "its own reader", (Issue("error", "", error.cause, error.remedy),))
    return RuntimeLint(name, examination.done, examination.issues)


def _print(model: str, target: Target, findings: tuple[RuntimeLint, ...], errors: int, warnings: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    from edgekit.console import make_console

    console = make_console()
    console.print(f"{model} for {target.name} ({target.title})", markup=False, highlight=False)
    for finding in findings:
        name = finding.runtime or "board"
        state = "" if finding.issues else ": nothing found"
        console.print(f"{name} ({finding.check}){state}", markup=False, highlight=False)
        if not finding.issues:
            continue
        table = Table()
        table.add_column("", no_wrap=True)
        table.add_column("node", overflow="fold", max_width=24)
        table.add_column("reason", overflow="fold")
        table.add_column("remedy", overflow="fold")
        for (severity, reason, remedy), nodes in _grouped(finding.issues).items():
            colour = "red" if severity == "error" else "yellow"
            table.add_row(f"[{colour}]{severity}[/]", escape(nodes), escape(reason), escape(remedy))
        console.print(table)
    console.print(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", markup=False, highlight=False)


def _grouped(issues: tuple[Issue, ...]) -> dict[tuple[str, str, str], str]:
    """(severity, reason, remedy) → its nodes, errors first; --json has them all."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for issue in sorted(issues, key=lambda issue: issue.severity):
        nodes.setdefault((issue.severity, issue.reason, issue.remedy), []).append(issue.node)
    return {
        key: "\n".join(names[:SHOWN]) + (f"\nand {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for key, names in nodes.items()
    }


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
