"""The roofline of a board that is not here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.hardware import find_target
from edgekit.plan import Roofline, roofline
from edgekit.types import Cost, LayerCost, Precision

PI5 = find_target("raspberry-pi-5", Path(__file__).parent)
PI4 = find_target("raspberry-pi-4", Path(__file__).parent)
NANO = find_target("jetson-nano", Path(__file__).parent)
NX = find_target("jetson-orin-nx", Path(__file__).parent)
GENERIC = find_target("generic-cpu", Path(__file__).parent)


def cost(*macs: int, output_bytes: int = 1000, parameters: int = 1000) -> Cost:
    layers = tuple(LayerCost(f"l{i}", "Conv", count, 0, output_bytes) for i, count in enumerate(macs))
    return Cost(sum(macs), parameters, 4 * parameters, 2 * output_bytes, layers)


def value(told: Roofline) -> float:
    assert told.latency_ms is not None
    return told.latency_ms.value


def test_the_low_end_is_the_operations_over_the_peak_rate() -> None:
    told = roofline(PI5, cost(10_000_000, output_bytes=1, parameters=1), "fp32", threads=4).latency_ms
    assert told is not None
    assert told.low == pytest.approx(2 * 10e6 / 0.1536e12 * 1e3)


def test_a_layer_that_only_moves_data_takes_its_bytes_over_the_bandwidth() -> None:
    told = roofline(PI5, cost(0, output_bytes=17_100_000, parameters=0), "fp32", threads=4).latency_ms
    assert told is not None
    assert told.low == pytest.approx(2.0)


def test_one_thread_has_its_share_of_the_cores_alone() -> None:
    one, four = (roofline(PI5, cost(10**8), "fp32", threads=n).latency_ms for n in (1, 4))
    assert one is not None
    assert four is not None
    assert one.low == pytest.approx(4 * four.low)


def test_more_threads_than_cores_give_nothing_more() -> None:
    assert roofline(PI5, cost(10**8), "int8", threads=64) == roofline(PI5, cost(10**8), "int8", threads=4)


def test_int8_gains_with_dot_products_and_hardly_without() -> None:
    big = cost(10**8)
    assert value(roofline(PI5, big, "int8")) < 0.5 * value(roofline(PI5, big, "fp32"))
    assert value(roofline(PI4, big, "int8")) > 0.9 * value(roofline(PI4, big, "fp32"))


def test_weights_that_are_only_stored_narrow_compute_in_what_the_runtime_runs_as() -> None:
    big = cost(10**8, parameters=1)
    assert value(roofline(PI5, big, "fp16", runs_as="fp32")) == pytest.approx(
        value(roofline(PI5, big, "fp32"))
    )


def test_the_dla_has_rates_of_its_own() -> None:
    big = cost(10**9)
    assert value(roofline(NX, big, "int8", device="dla")) > value(roofline(NX, big, "int8"))


@pytest.mark.parametrize(
    ("target", "precision", "device", "what"),
    [(GENERIC, "fp32", "", "fp32 on generic-cpu"), (NANO, "fp16", "dla", "the DLA of jetson-nano")],
)
def test_without_a_fact_nothing_is_estimated_and_the_fact_is_named(
    target: object, precision: Precision, device: str, what: str
) -> None:
    told = roofline(target, cost(1000), precision, device=device)  # type: ignore[arg-type]
    assert told.latency_ms is None
    assert what in told.sentences[0]


def test_without_a_bandwidth_nothing_is_estimated() -> None:
    import msgspec

    told = roofline(msgspec.structs.replace(PI5, bandwidth=None), cost(1000), "fp32")
    assert told.latency_ms is None
    assert "bandwidth" in told.sentences[0]


def test_the_assumptions_are_told_with_their_figures() -> None:
    text = " ".join(roofline(PI5, cost(1000), "int8").sentences)
    assert "153.6 GOP/s" in text
    assert "1 of 4 cores" in text
    assert "17.1 GB/s" in text
    assert "not verified" in text
    assert "50%" in text


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.sampled_from(["fp32", "int8"]))
def test_the_range_holds_the_likely_value_and_grows_with_the_work(
    macs: list[int], precision: Precision
) -> None:
    told = roofline(PI4, cost(*macs), precision).latency_ms
    more = roofline(PI4, cost(*macs, 1000), precision).latency_ms
    assert told is not None
    assert more is not None
    assert 0 < told.low <= told.value <= told.high
    assert (more.low, more.value, more.high) > (told.low, told.value, told.high)


def test_a_pruned_network_is_estimated_faster() -> None:
    whole, half = cost(10**8, 10**8), cost(10**8, 5 * 10**7)
    assert value(roofline(PI4, half, "fp32")) < value(roofline(PI4, replace(whole, parameters=500), "fp32"))
