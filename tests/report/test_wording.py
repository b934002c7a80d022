from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report import wording
from edgekit.testing.results import example_result
from edgekit.types import Rejection, SensorReading


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.03456, "0.0346"),
        (0.3131, "0.313"),
        (1.402, "1.40"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (0.0, "0.0000"),
    ],
)
def test_milliseconds_have_three_significant_digits(ms: float, text: str) -> None:
    assert wording.ms_text(ms) == text


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 B"), (184_000, "184 kB"), (1_094_000, "1.09 MB"), (8_000_000_000, "8 GB")]
)
def test_sizes_are_decimal(size: int, text: str) -> None:
    assert wording.bytes_text(size) == text


def test_a_share_is_told_in_percent_and_another_metric_as_it_is() -> None:
    accuracy = example_result().candidates[0].accuracy
    assert accuracy
    assert wording.value_text(accuracy) == "91.68 %"
    cosine = replace(accuracy, metric="cosine", value=0.99871, drop=0.00129)
    assert wording.value_text(cosine) == "0.9987"
    assert wording.drop_text(cosine) == "0.0013"


def test_a_gain_has_a_true_minus_and_nothing_has_none() -> None:
    accuracy = example_result().candidates[0].accuracy
    assert accuracy
    assert wording.drop_text(replace(accuracy, drop=-0.001)) == "\u22120.10"
    assert wording.drop_text(replace(accuracy, drop=-0.0000001)) == "0.00"


@given(st.text(min_size=0, max_size=80), st.integers(5, 40))
def test_shortened_text_keeps_its_ends_within_the_width(text: str, width: int) -> None:
    short = wording.shorten(text, width)
    assert len(short) <= width
    assert short == text or (text.startswith(short.split("…")[0]) and len(text) > width)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.25, "3.2 s"), (48, "48 s"), (1265, "21 min 5 s"), (7380, "2 h 3 min")]
)
def test_durations_use_the_two_largest_units(seconds: float, text: str) -> None:
    assert wording.duration_text(seconds) == text


def test_a_slower_candidate_is_called_slower() -> None:
    assert wording.ratio_text(1.0, 1.5, "faster", "slower") == "1.50 times slower"
    assert wording.ratio_text(3.0, 1.0, "faster", "slower") == "3.00 times faster"


def test_sensors_are_told_before_and_after_the_measurements() -> None:
    environment = example_result().environment
    assert wording.temperature_text(environment) == "cpu-thermal 41.0 → 63.5 °C, gpu-thermal 39.5 → 40.0 °C"
    assert wording.clock_text(environment) == "CPU 1 2000 → 1400 MHz"
    assert wording.clock_text(replace(environment, pinned_cpus=())) == (
        "CPU 0 2000 → 2000 MHz, CPU 1 2000 → 1400 MHz"
    )


def test_clocks_of_many_cpus_are_told_as_a_range() -> None:
    before = SensorReading({}, {str(cpu): 1500.0 + cpu for cpu in range(8)})
    after = SensorReading({}, {str(cpu): 1200.0 for cpu in range(8)})
    environment = replace(
        example_result().environment, pinned_cpus=(), sensors_before=before, sensors_after=after
    )
    assert wording.clock_text(environment) == "1500 to 1507 → 1200 to 1200 MHz"


def test_a_machine_that_tells_nothing_is_told_apart_from_one_that_was_not_asked() -> None:
    environment = example_result().environment
    silent = replace(environment, sensors_before=SensorReading(), sensors_after=SensorReading())
    assert wording.temperature_text(silent) == wording.clock_text(silent) == "not told by this machine"
    unasked = replace(environment, sensors_before=None, sensors_after=None)
    assert wording.temperature_text(unasked) == wording.clock_text(unasked) == "not read"


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ("int8", "no such units; instead: int8"),
        ("FP16, together with pruning", "no such units; instead: FP16, together with pruning"),
        ("int8-dynamic", "no such units; instead: int8-dynamic"),
        ("onnxruntime or litert", "no such units; instead: onnxruntime or litert"),
        ("a smaller network", "no such units; instead: a smaller network"),
        ("give the network as net.py:factory", "no such units; give the network as net.py:factory"),
        ("  ", "no such units;   "),
        ("", "no such units"),
    ],
)
def test_what_is_tried_instead_is_called_so(instead: str, told: str) -> None:
    assert wording.rejection_text("no such units", instead) == told


def test_what_was_rejected_for_one_reason_shares_a_line() -> None:
    rejected = [
        Rejection("a fp8", "none", "int8"),
        Rejection("c", "other"),
        Rejection("b fp8", "none", "int8"),
    ]
    assert wording.rejection_lines(rejected) == ["a fp8, b fp8: none; instead: int8", "c: other"]


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("top1", "top1"),
        ("map:/home/me/nets/training.py:decode", "map:training.py:decode"),
        ("nets/training.py:score", "training.py:score"),
        ("training.py:score", "training.py:score"),
        ("package.module:score", "package.module:score"),
    ],
)
def test_a_metric_of_the_users_own_is_told_without_its_folders(metric: str, told: str) -> None:
    assert wording.metric_text(metric) == told
