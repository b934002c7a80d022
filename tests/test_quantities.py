"""Quantities as people write them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgekit
from edgekit.errors import BudgetError
from edgekit.quantities import (
    parse_energy_mj,
    parse_fraction,
    parse_latency_ms,
    parse_seconds,
    parse_size_bytes,
    read_drop,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("2ms", 2.0), ("1.5s", 1500.0), ("800us", 0.8), ("800 µs", 0.8), ("2", 2.0), (".5ms", 0.5)],
)
def test_latencies(text: str, ms: float) -> None:
    assert parse_latency_ms(text) == pytest.approx(ms)


@pytest.mark.parametrize(
    ("text", "size"), [("2MB", 2_000_000), ("2MiB", 2_097_152), ("1.5kb", 1500), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100%", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert parse_fraction(text) == pytest.approx(share)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800.0), ("2h", 7200.0), ("90s", 90.0), ("90", 90.0)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


BAD = ["", "fast", "-1ms", "0", "2 parsecs", "nan", "1e3ms", "inf", "2ms 3ms"]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("parse", [parse_latency_ms, parse_seconds, parse_size_bytes])
def test_what_is_no_quantity_is_told_with_what_is_allowed(parse: object, text: str) -> None:
    with pytest.raises(BudgetError, match="allowed: ") as caught:
        parse(text)  # type: ignore[operator]
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["5", "101%", "-1%", "a lot"])
def test_a_share_above_the_whole_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match=r"1% or 0\.01"):
        parse_fraction(text)


@given(st.floats(min_value=0.001, max_value=1e6))
def test_units_of_latency_agree(value: float) -> None:
    text = f"{value:.6f}"
    assert parse_latency_ms(text + "s") == pytest.approx(1000 * parse_latency_ms(text + "ms"))


@given(st.text(max_size=12))
def test_no_text_breaks_the_parsers_otherwise(text: str) -> None:
    for parse in (parse_latency_ms, parse_seconds, parse_size_bytes, parse_fraction):
        try:
            assert parse(text) >= 0
        except BudgetError:
            continue


@pytest.mark.parametrize(
    ("drop", "share"),
    [
        ("1%", 0.01), ("0.01", 0.01), ("0.5 %", 0.005), ("30%", 0.3), ("100%", 1.0), ("0.3", 0.3), ("0", 0.0),
        (0.01, 0.01), (0, 0.0), (0.3, 0.3), (np.float32(0.25), 0.25), (None, None),
    ],
)  # fmt: skip
def test_drops(drop: str | float | None, share: float | None) -> None:
    assert read_drop(drop) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("drop", "readings"),
    [
        ("1", "read as 1% or as 100%; allowed: 1% or 0.01; or 100%, if that is meant"),
        ("0.5", "read as 0.5% or as 50%; allowed: 0.5% or 0.005; or 50%, if that is meant"),
        ("2.5", "read as 2.5% or as 250%; allowed: 2.5% or 0.025"),
        (1, "read as 1% or as 100%; allowed: 1% or 0.01; or 100%, if that is meant"),
        (0.31, "read as 0.31% or as 31%; allowed: 0.31% or 0.0031; or 31%, if that is meant"),
        (5.0, "read as 5% or as 500%; allowed: 5% or 0.05"),
    ],
)
def test_a_drop_that_reads_two_ways_is_refused_with_both(drop: str | float, readings: str) -> None:
    with pytest.raises(BudgetError) as caught:
        read_drop(drop)
    assert str(caught.value) == f"an accuracy drop of {drop} can be {readings}"


@pytest.mark.parametrize("drop", ["101%", "-1%", "some", math.nan, -math.inf])
def test_a_drop_that_is_no_share_is_refused(drop: str | float) -> None:
    with pytest.raises(BudgetError, match=r"1% or 0\.01"):
        read_drop(drop)


def test_python_refuses_it_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="1% or as 100%"):
        edgekit.build(target="?", model="?", data="?", max_drop=1, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("given", "error"), [("0.05", 0.05), (2, 2.0), ("40", 40.0), (0, 0.0), (None, None)])
def test_an_error_may_grow_by_a_number_in_its_own_unit(
    given: str | float | None, error: float | None
) -> None:
    assert read_drop(given, "rmse") == error


@pytest.mark.parametrize("given", ["1%", "0.5 %", "-1", "much"])
def test_a_share_of_an_error_is_refused(given: str) -> None:
    with pytest.raises(BudgetError, match=r"allowed: .*(in that unit|a number of 0 or more)") as caught:
        read_drop(given, "mae")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "mj"), [("5mJ", 5.0), ("0.2J", 200.0), ("800 uJ", 0.8), ("5", 5.0)])
def test_an_energy_is_read_in_millijoules(text: str, mj: float) -> None:
    assert parse_energy_mj(text) == pytest.approx(mj)


@pytest.mark.parametrize("text", ["0mJ", "5ms", "-1J", "much", ""])
def test_what_is_no_energy_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="energy"):
        parse_energy_mj(text)
