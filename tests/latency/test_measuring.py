"""What is measured for a table, and in which order: what others are subtracted from comes before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from edgekit.latency import Family, LatencyTable, MeasuredOn, TimedUnit, Unit, measuring
from edgekit.latency.handing_out import subtracted
from edgekit.types import Estimate

PLACE = MeasuredOn("a machine", "a CPU", "x86_64", (), "onnxruntime", "1.0", 1)


@pytest.mark.parametrize("width", [32, 48, 64, 160])
@pytest.mark.parametrize("size", [(8, 8), (16, 4), (3, 3)])
def test_whatever_is_subtracted_is_known_before_also_at_further_widths(
    monkeypatch: pytest.MonkeyPatch, width: int, size: tuple[int, int]
) -> None:
    batches: list[Sequence[Unit]] = []

    def made_up(device: Any, table: LatencyTable, batch: Sequence[Unit], *_: Any) -> list[TimedUnit]:
        """Times with a step between 8 channels and 16, which is looked at more closely."""
        batches.append(batch)
        timed: list[TimedUnit] = []
        for unit in batch:
            known = table.with_timed(timed)
            assert all(known.predict(part).latency_ms is not None for part in subtracted(unit)), unit.text()
            ms = 1e-3 * (-(-unit.channels_in // 16) + -(-unit.channels_out // 16))
            timed.append(TimedUnit(unit, Estimate(ms, ms, ms)))
        return timed

    monkeypatch.setattr(measuring, "_measured", made_up)
    family = Family("conv", size, "int8", (3, 1), (2, 1), (1, 0, 1, 0))
    table = measuring.measure_units(None, LatencyTable(PLACE), [Unit(family, width, width)])  # type: ignore[arg-type]
    assert len(batches) > 1
    assert table.predict(Unit(family, width, width)).latency_ms is not None
