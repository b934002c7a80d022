"""The candidates in the terminal: one line each, as many columns as fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.report.wording import bytes_text, drop_text, latency_at, ms_text, shorten, value_text
from edgekit.result import CandidateResult
from edgekit.types import Origin

__all__ = ["THROTTLED", "UNSTEADY", "candidate_lines"]

UNSTEADY, THROTTLED = "~", "!"
LEAST_NAME = 24
"""Columns that the ids get before others give way to them."""

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """`worth`: the higher, the later it gives way."""

    heading: str
    width: int
    worth: int
    text: Callable[[CandidateResult], str]


def candidate_lines(
    candidates: Sequence[CandidateResult], origin: Origin, percentile: str, metric: str, width: int
) -> tuple[str, list[str]]:
    """The heading, and a line per candidate, none wider than `width`. UNSTEADY and THROTTLED mark what was so."""
    columns = _columns(origin, percentile, metric)
    while len(columns) > 1 and width - sum(column.width + 1 for column in columns) < LEAST_NAME:
        least = min(columns, key=lambda column: column.worth)
        columns = [column for column in columns if column is not least]
    room = max(width - sum(column.width + 1 for column in columns), 8)
    head = " ".join([f"{'candidate':<{room}}", *(f"{column.heading:>{column.width}}" for column in columns)])
    lines = [
        " ".join(
            [
                f"{shorten(row.id, room):<{room}}",
                *(f"{column.text(row):>{column.width}}" for column in columns),
            ]
        )
        for row in candidates
    ]
    return head, lines


def _columns(origin: Origin, percentile: str, metric: str) -> list[Column]:
    accuracy = [
        Column(shorten(metric, 8), 8, 4, lambda row: value_text(row.accuracy) if row.accuracy else NOTHING),
        Column("drop", 6, 5, lambda row: drop_text(row.accuracy) if row.accuracy else NOTHING),
        Column("size", 8, 3, lambda row: bytes_text(row.size_bytes)),
    ]
    if origin == "estimated":
        return [Column("estimated, ms", 14, 6, _range), Column("likely", 6, 2, _at), *accuracy]
    return [
        Column("p50 ms", 6, 1, lambda row: ms_text(row.latency_ms.p50) if row.latency_ms else NOTHING),
        Column(f"{percentile} ms", 7, 6, _at),
        Column("95 % interval", 13, 2, _range),
        *accuracy,
    ]


def _range(row: CandidateResult) -> str:
    latency = row.latency_ms
    return f"{ms_text(latency.low)}–{ms_text(latency.high)}" if latency else NOTHING


def _at(row: CandidateResult) -> str:
    latency = row.latency_ms
    if latency is None:
        return NOTHING
    throttled = latency.steadiness is not None and latency.steadiness.state == "throttled"
    return ms_text(latency_at(latency)) + (THROTTLED if throttled else "" if latency.steady else UNSTEADY)
