"""Quantities and preprocessing as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.cli.options import (
    parse_cpus,
    parse_fraction,
    parse_latency_ms,
    parse_seconds,
    parse_size_bytes,
    read_preprocess,
)
from edgekit.errors import BudgetError, DataError, UserError
from edgekit.types import Preprocess


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
    ("text", "cpus"), [("0", (0,)), ("0,2", (0, 2)), ("0-2", (0, 1, 2)), ("none", ()), ("2,0,0", (0, 2))]
)
def test_cpus(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text, [0, 1, 2]) == cpus


@pytest.mark.parametrize("text", ["", "7", "a", "2-0", "-1", "0-99999999999"])
def test_cpus_that_are_not_there_are_told(text: str) -> None:
    with pytest.raises(UserError, match="of 0,1,2"):
        parse_cpus(text, [0, 1, 2])


def test_without_options_samples_stay_as_they_are() -> None:
    assert read_preprocess({}) == Preprocess()


def test_options_become_preprocessing() -> None:
    options = {
        "input_layout": "nhwc",
        "scale": "255",
        "mean": "0.5,0.4,0.3",
        "std": "0.2",
        "resize": 40,
        "crop": 32,
    }
    assert read_preprocess(options) == Preprocess("nhwc", 255.0, (0.5, 0.4, 0.3), (0.2,), 40, 32)


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('input_layout = "nhwc"\nscale = 255.0\n')
    found = read_preprocess({"preprocess": tmp_path / "p.toml", "scale": "2"})
    assert (found.input_layout, found.scale) == ("nhwc", 2.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": "a,b"}, "--mean 'a,b'"),
        ({"mean": "1,,2"}, "--mean"),
        ({"std": "inf"}, "--std"),
        ({"std": "0.1,0"}, "divisor of 0"),
        ({"scale": "0"}, "divisor of 0"),
        ({"scale": "1,2"}, "one number"),
        ({"mean": "1,2,3", "std": "1,2"}, "3 values, --std 2"),
    ],
)
def test_options_that_make_no_preprocessing_are_told(options: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_preprocess(options)
