"""What `--json` prints of a result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.result import LatencyResult, Result

__all__ = ["result_json"]


def result_json(result: Result, *, raw: bool) -> str:
    """The result as JSON; `raw`: with the single timings, which are most of `result.json`."""
    import msgspec

    if not raw:
        result = replace(
            result,
            candidates=tuple(
                replace(row, latency_ms=without_rounds(row.latency_ms)) for row in result.candidates
            ),
            confirmed=without_rounds(result.confirmed),
        )
    return msgspec.json.format(msgspec.json.encode(result), indent=1).decode()


def without_rounds(latency: LatencyResult | None) -> LatencyResult | None:
    """A latency without the single timings that it was estimated from."""
    return None if latency is None else replace(latency, rounds_ms=(), turns=())
