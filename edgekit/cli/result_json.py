"""What `--json` prints of a result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.result import CandidateResult, Result

__all__ = ["result_json"]


def result_json(result: Result, *, raw: bool) -> str:
    """The result as JSON; `raw`: with the single timings, which are most of `result.json`."""
    import msgspec

    if not raw:
        result = replace(result, candidates=tuple(without_rounds(row) for row in result.candidates))
    return msgspec.json.format(msgspec.json.encode(result), indent=1).decode()


def without_rounds(row: CandidateResult) -> CandidateResult:
    """The candidate without the timings that its latency was estimated from."""
    if row.latency_ms is None:
        return row
    return replace(row, latency_ms=replace(row.latency_ms, rounds_ms=(), turns=()))
