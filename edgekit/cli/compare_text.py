"""How `edgekit compare` tells what it found: 80 columns are enough."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from edgekit.compare.statistics import BEST_DB

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.compare import Comparison, LayerDifference, OutputDifference, Side

__all__ = ["print_comparison"]

MATCHED = {"name": "by name", "values": "by their values", "place": "by their place"}
HINTED = 4  # of the worst layers, beside the one where the two part
RESOURCE = re.compile(r"(/ReadVariableOp)?/resource\d*$")  # what TensorFlow appends to a layer's name


def print_comparison(comparison: Comparison, top: int) -> None:
    """Where the two part first, then hints, the worst layers, the outputs and notes."""
    from edgekit.console import make_console

    console = make_console()
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        _line(console, f"{letter}  {side_text(side)}")
    _wrapped(console, f"{comparison.inputs}; {matching_text(comparison)}")
    console.print()
    _wrapped(console, divergence_text(comparison), style="bold")
    divergence = comparison.first_divergence()
    if divergence is not None:
        _hints(console, divergence)
    console.print()
    _table(console, comparison, top)
    worst = [layer for layer in comparison.worst()[:top] if layer.hints and layer is not divergence][:HINTED]
    for layer in worst:
        _wrapped(console, f"{short(layer.name, 60)}:")
        _hints(console, layer)
    if worst:
        console.print()
    for output in comparison.outputs:
        _wrapped(console, output_text(output))
        for hint in output.hints:
            _wrapped(console, f"→ {hint}", indent=2)
    if comparison.accuracy is not None:
        a, b = comparison.accuracy
        _line(console, f"top-1: A {100 * a:.2f} %, B {100 * b:.2f} % ({100 * (b - a):+.2f} points)")
    for note in comparison.notes:
        _wrapped(console, f"note: {note}")


def side_text(side: Side) -> str:
    """One line on an artifact."""
    return f"{side.name}: {side.runtime}, {side.arithmetic}, {side.tensors} tensors"


def matching_text(comparison: Comparison) -> str:
    """How many tensors were matched, how, and what is left."""
    counts: Counter[str] = Counter(layer.matched for layer in comparison.layers)
    ways = ", ".join(f"{counts[how]} {words}" for how, words in MATCHED.items() if counts[how])
    left = [
        f"{len(names)} of {side} without a counterpart"
        for side, names in (("A", comparison.unmatched_a), ("B", comparison.unmatched_b))
        if names
    ]
    return "; ".join([f"{len(comparison.layers)} tensors matched ({ways})", *left])


def divergence_text(comparison: Comparison) -> str:
    """The first layer where the two part, or that there is none."""
    layer = comparison.first_divergence()
    if layer is None:
        lowest = "".join(
            f": the lowest SQNR is {db_text(worst.difference.sqnr_db)} at {short(worst.name, 60)}"
            for worst in comparison.worst()[:1]
        )
        dead = [output.name for output in comparison.outputs if output.lost]
        if dead:
            return f"Output {dead[0]} is where they part: no tensor before it shows it{lowest}."
        return f"They do not part anywhere{lowest}."
    before = "" if layer.inputs_db is None else f", of its inputs {db_text(layer.inputs_db)}"
    place = "" if layer.layer in (layer.name, "") else f" (layer {short(layer.layer, 60)})"
    lost = "" if layer.part is None or not layer.part.lost else f" {layer.part.text}; as a whole:"
    return (
        f"{short(layer.name, 70)}{place} is where they part:{lost} SQNR {db_text(layer.difference.sqnr_db)}{before}; "
        f"cosine {layer.difference.cosine:.4f}."
    )


def output_text(output: OutputDifference) -> str:
    """One output in one sentence."""
    text = f"output {output.name}: "
    if output.agreement is not None:
        share = output.agreement
        text += (
            f"the same class first in {100 * share.value:.2f} % "
            f"[{100 * share.low:.2f}, {100 * share.high:.2f}], "
        )
    difference = output.difference
    part = "" if output.part is None or not output.part.lost else f"; {output.part.text}"
    return (
        f"{text}cosine {difference.cosine:.6f}, SQNR {db_text(difference.sqnr_db)}, largest difference "
        f"{difference.max_abs:.3g} ({difference.max_of_range:.2%} of the range){part}"
    )


def db_text(value: float) -> str:
    """Decibel; what float32 cannot tell apart is the same."""
    return "no difference" if value >= BEST_DB else f"{value:.1f} dB"


def short(name: str, width: int) -> str:
    """The end of a long name: that is where layers differ.

    TensorFlow's and LiteRT's converters join the names of all that they fused with semicolons, the layer's last.
    """
    parts = [RESOURCE.sub("", part) for part in name.split(";")]
    name = next((part for part in reversed(parts) if not part.isdigit()), name)
    return name if len(name) <= width else f"…{name[-(width - 1) :]}"


def _table(console: Console, comparison: Comparison, top: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"Worst of {len(comparison.layers)} tensors", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("tensor", overflow="ellipsis", no_wrap=True)
    for title in ("SQNR dB", "inputs", "cosine", "max diff", "of range"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("matched", no_wrap=True)
    width = max(12, min(console.width, 110) - 57)
    for layer in comparison.worst()[:top]:
        difference = layer.difference
        table.add_row(
            Text(short(layer.name, width), "bold" if layer.name == comparison.parts_at else ""),
            _number(difference.sqnr_db),
            "–" if layer.inputs_db is None else _number(layer.inputs_db),
            f"{difference.cosine:.5f}",
            f"{difference.max_abs:.3g}",
            f"{difference.max_of_range:.1%}",
            layer.matched,
        )
    console.print(table)
    console.print()


def _number(value: float) -> str:
    return "same" if value >= BEST_DB else f"{value:.1f}"


def _hints(console: Console, layer: LayerDifference) -> None:
    for hint in layer.hints:
        _wrapped(console, f"→ {hint}", indent=2)


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)  # paths are for copying


def _wrapped(console: Console, text: str, indent: int = 0, style: str = "") -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False), highlight=False)
