"""`bench --sweep power`: which mode is fastest, which is best per joule, and one line where there is nothing to try."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.cli.sweep import ModeResult, sweep, sweep_json, verdict
from edgekit.devices.measuring import MeasureOptions
from edgekit.errors import UserError
from edgekit.types import Estimate


def mode(name: str, ms: float, mj: float | None, half: float = 0.01) -> ModeResult:
    energy = None if mj is None else Estimate(mj, mj - half, mj + half)
    return ModeResult(name, Estimate(ms, ms - half, ms + half), energy, "clean")


def test_the_fastest_and_the_thriftiest_may_differ() -> None:
    results = (mode("15W", 2.0, 9.0), mode("7W", 3.0, 6.0))
    assert verdict(results) == ("fastest: 15W", "best per joule: 7W")
    assert (sweep_json(results)["fastest"], sweep_json(results)["best_per_joule"]) == ("15W", "7W")


def test_what_cannot_be_told_apart_is_said() -> None:
    assert verdict((mode("a", 2.0, 6.0), mode("b", 2.01, 6.01))) == (
        "fastest: a (no difference seen to b)",
        "best per joule: a (no difference seen to b)",
    )


def test_without_power_of_every_mode_none_is_called_best_per_joule() -> None:
    results = (mode("a", 2.0, 6.0), mode("b", 3.0, None))
    assert "not known" in verdict(results)[1]
    assert sweep_json(results)["best_per_joule"] is None


@pytest.mark.parametrize(
    "facts", [{}, {"power_modes": {"names": [], "why_not": "this board has no power modes"}}]
)
def test_nothing_to_try_is_one_line_before_anything_is_measured(facts: dict[str, Any]) -> None:
    def never(_options: MeasureOptions) -> Any:
        raise AssertionError("something was measured")

    with pytest.raises(UserError, match="power modes"):
        sweep(facts, MeasureOptions(), never)
