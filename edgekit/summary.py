"""A result at a glance, for an interactive session: ten lines, a small HTML table, rows for a DataFrame;
and whole, as plain values.

Shares are fractions here, as in `result.json`; the report and the terminal have them in points.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.result import AccuracyResult, CandidateResult, Result

__all__ = ["as_html", "as_rows", "as_text", "plain"]

SHOWN = 30  # rows of the HTML table
WIDTH = 160  # of the explanation


def as_text(result: Result) -> str:
    """The verdict and what it stands on, in ten lines at most."""
    return "\n".join(
        (
            f"edgekit: {result.verdict} on {result.target.name}",
            *(f"{name:<9} {fact}" for name, fact in facts(result)),
        )
    )


def facts(result: Result) -> list[tuple[str, str]]:
    """Name and text of each line."""
    lines = []
    chosen = named(result, result.winner or result.nearest)
    if chosen is not None:
        lines.append(
            ("winner" if result.winner else "nearest", f"{chosen.id} ({chosen.backend}, {chosen.precision})")
        )
        lines += figures(chosen, result)
    first = next(
        (row for row in result.candidates if row.variant == "original" and row.precision == "fp32"), None
    )
    if first is not None and first is not chosen:
        lines.append(("float", ", ".join(text for _, text in figures(first, result))))
    tried = (
        f"{len(result.candidates)} measured, {len(result.failures)} failed, {len(result.rejected)} rejected"
    )
    lines.append(("tried", tried))
    lines.append(("because", shortened(result.explanation)))
    if result.warnings:
        more = f" (and {len(result.warnings) - 1} more)" if len(result.warnings) > 1 else ""
        lines.append(("warning", shortened(result.warnings[0]) + more))
    if result.bundle is not None:
        lines.append(("bundle", str(result.bundle)))
    return lines


def figures(row: CandidateResult, result: Result) -> list[tuple[str, str]]:
    """Latency, accuracy and size of a candidate."""
    lines = []
    latency = row.latency_ms
    if latency is not None:
        percentile = result.budget.percentile
        value, low, high = (f"{x:.4g}" for x in (getattr(latency, percentile), latency.low, latency.high))
        text = f"{percentile} {value} ms [{low}, {high}]"
        if row.origin == "estimated":
            text = f"{low} to {high} ms (likely {value}), estimated"
        lines.append(("latency", text if row.origin in ("device", "estimated") else f"{text}, {row.origin}"))
    accuracy = result.claim if result.claim is not None and row.id == result.winner else row.accuracy
    if accuracy is not None:
        lines.append(("accuracy", accuracy_text(accuracy)))
    lines.append(("size", f"{row.size_bytes / 1e6:.3g} MB"))
    return lines


def accuracy_text(accuracy: AccuracyResult) -> str:
    """As `top1 0.9916 (test), drop 0.002 [-0.001, 0.006]`."""
    drop = f"drop {accuracy.drop:.4g} [{accuracy.drop_low:.4g}, {accuracy.drop_high:.4g}]"
    return f"{accuracy.metric} {accuracy.value:.4g} ({accuracy.split}), {drop}"


def named(result: Result, name: str | None) -> CandidateResult | None:
    """The candidate of that id."""
    return next((row for row in result.candidates if row.id == name), None)


def shortened(text: str) -> str:
    """The first WIDTH letters."""
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def as_rows(result: Result) -> list[dict[str, Any]]:
    """A dict per measured candidate: milliseconds, bytes, fractions; None for what was not measured."""
    rows = []
    for row in result.candidates:
        latency, accuracy = row.latency_ms, row.accuracy
        rows.append(
            {
                "id": row.id,
                "runtime": row.backend,
                "precision": row.precision,
                "variant": row.variant,
                "p50_ms": latency.p50 if latency else None,
                "p90_ms": latency.p90 if latency else None,
                "p99_ms": latency.p99 if latency else None,
                "latency_low_ms": latency.low if latency else None,
                "latency_high_ms": latency.high if latency else None,
                "steady": latency.steady if latency else None,
                "metric": accuracy.metric if accuracy else None,
                "accuracy": accuracy.value if accuracy else None,
                "drop": accuracy.drop if accuracy else None,
                "drop_low": accuracy.drop_low if accuracy else None,
                "drop_high": accuracy.drop_high if accuracy else None,
                "size_bytes": row.size_bytes,
                "peak_memory_bytes": row.peak_memory_bytes or None,
                "origin": row.origin,
                "chosen": row.id == result.winner,
                "why": row.why,
            }
        )
    return rows


def as_html(result: Result) -> str:
    """For notebooks: the facts, and the candidates as a table, the fastest first."""
    head = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in facts(result))
    columns = ("id", "p50_ms", "p90_ms", "accuracy", "drop", "size_bytes", "why")
    rows = sorted(as_rows(result), key=lambda row: (row["p50_ms"] is None, row["p50_ms"] or 0.0))
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(row[name]))}</td>" for name in columns) + "</tr>"
        for row in rows[:SHOWN]
    )
    more = f"<p>and {len(rows) - SHOWN} more: <code>result.table()</code></p>" if len(rows) > SHOWN else ""
    title = f"<h3>{result.verdict} on {html.escape(result.target.name)}</h3>"
    titles = "".join(f"<th>{name}</th>" for name in columns)
    return f"{title}<table>{head}</table><table><tr>{titles}</tr>{body}</table>{more}"


def cell(value: object) -> str:
    """A value of a table."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """Dataclasses as dicts, with all their fields: of a value that was decoded itself, msgspec leaves out the defaults.

    As dataclasses.asdict, which copies each of ten thousand raw samples by itself.
    """
    if is_dataclass(value):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return value if value and isinstance(value[0], float) else [plain(part) for part in value]
    return value
