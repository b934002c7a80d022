"""`edgekit bench --sweep power`: one artifact in each of the board's power modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.devices.measuring import Measured, MeasureOptions
    from edgekit.types import Estimate

__all__ = ["ModeResult", "print_sweep", "sweep", "sweep_json"]


@dataclass(frozen=True)
class ModeResult:
    """What one power mode gave: latency in ms, energy of one inference in mJ (None: the board does not tell)."""

    mode: str
    latency_ms: Estimate
    energy_mj: Estimate | None
    state: str


def sweep(
    facts: Mapping[str, Any], options: MeasureOptions, measure_once: Callable[[MeasureOptions], Measured]
) -> tuple[ModeResult, ...]:
    """One measurement per mode, in the board's order. `facts`: of the device. What was set is put back by the board.

    Raises UserError where there is nothing to try or no permission, before anything is measured, and what
    `measure_once` raises.
    """
    told = facts.get("power_modes") or {"names": [], "why_not": "this board does not tell its power modes"}
    if told["why_not"]:
        raise UserError(
            f"--sweep power: {told['why_not']}", allowed="a board with nvpmodel or governors, as root there"
        )
    results = []
    for mode in told["names"]:
        measurement = measure_once(replace(options, power_mode=mode, energy=True)).measurement
        latency, energy = measurement.latency, measurement.energy
        assert latency is not None
        state = latency.steadiness.state if latency.steadiness else "unknown"
        results.append(ModeResult(mode, latency.p50, energy.per_inference_mj if energy else None, state))
    return tuple(results)


def fastest(results: Sequence[ModeResult]) -> ModeResult:
    """The one with the lowest median; of equals the first."""
    return min(results, key=lambda row: row.latency_ms.value)


def thriftiest(results: Sequence[ModeResult]) -> ModeResult | None:
    """The one that takes least energy for an inference; None unless all of them told it."""
    told = [(row.energy_mj.value, row) for row in results if row.energy_mj is not None]
    return min(told, key=lambda pair: pair[0])[1] if len(told) == len(results) else None


def verdict(results: Sequence[ModeResult]) -> tuple[str, ...]:
    """The two answers as sentences, with ties said."""
    first = fastest(results)
    alike = [row.mode for row in results if row is not first and row.latency_ms.low <= first.latency_ms.high]
    tie = f" (no difference seen to {', '.join(alike)})" if alike else ""
    best = thriftiest(results)
    if best is None or best.energy_mj is None:
        return f"fastest: {first.mode}{tie}", "best per joule: not known, the board does not tell its power"
    near = [
        row.mode
        for row in results
        if row is not best and row.energy_mj is not None and row.energy_mj.low <= best.energy_mj.high
    ]
    also = f" (no difference seen to {', '.join(near)})" if near else ""
    return f"fastest: {first.mode}{tie}", f"best per joule: {best.mode}{also}"


def sweep_json(results: Sequence[ModeResult]) -> dict[str, Any]:
    """What `--json` prints."""
    import msgspec

    best = thriftiest(results)
    return {
        "schema": 1,
        "modes": [msgspec.to_builtins(row) for row in results],
        "fastest": fastest(results).mode,
        "best_per_joule": best.mode if best else None,
    }


def print_sweep(results: Sequence[ModeResult]) -> None:
    """A table, and the two answers."""
    from rich.table import Table

    from edgekit.console import make_console

    table = Table(title="power modes", title_justify="left")
    for name in ("mode", "p50 ms", "95 % interval", "mJ an inference", "steadiness"):
        table.add_column(name, justify="left" if name in ("mode", "steadiness") else "right")
    for row in results:
        latency, energy = row.latency_ms, row.energy_mj
        table.add_row(
            row.mode,
            f"{latency.value:.3f}",
            f"{latency.low:.3f} to {latency.high:.3f}",
            f"{energy.value:.3g} ({energy.low:.3g} to {energy.high:.3g})" if energy else "not told",
            row.state,
        )
    console = make_console()
    console.print(table)
    for sentence in verdict(results):
        console.print(sentence, markup=False, highlight=False)
