"""A board that is not here: which candidates go to it, what is too large for it, and what may be said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.building.board import Board
from edgekit.building.candidates.estimates import (
    best_per_precision,
    estimate_structures,
    provisional,
    too_large,
    with_point_latency,
)
from edgekit.building.candidates.judging import baseline_id, judged, without
from edgekit.choose import Entry
from edgekit.hardware import find_target
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Choice, Cost, Failure, LayerCost
from tests.building.parts import MACHINE, attempt, budget, measurement

PI = Board(find_target("raspberry-pi-4"), MACHINE, ("this machine is x86_64",))


def test_of_each_precision_the_best_two_go_and_the_leading_one_first() -> None:
    attempts = [
        attempt("int8-slow"),
        attempt("int8-fast"),
        attempt("int8-inaccurate", drop=0.5),
        attempt("fp32", precision="fp32"),
        attempt("unmeasured"),
    ]
    speeds = {"int8-slow": 3.0, "int8-fast": 1.0, "int8-inaccurate": 0.1, "fp32": 9.0}
    measurements = {name: measurement(name, ms) for name, ms in speeds.items()}
    choice = Choice("MISSES", None, "int8-slow", "")
    chosen = best_per_precision(attempts, measurements, choice, 0.01)
    assert [kept.candidate.id for kept in chosen] == ["int8-slow", "int8-fast", "fp32"]


def test_a_process_larger_than_the_board_s_share_is_a_failure() -> None:
    limit = PI.target.model_bytes
    assert limit is not None
    (failure,) = too_large(
        PI.target, {"a": measurement(memory=limit + 1), "b": measurement("b", memory=limit)}
    )
    assert (failure.candidate, failure.stage) == ("a", "memory")
    assert "raspberry-pi-4" in failure.cause
    assert too_large(find_target("generic-cpu"), {"a": measurement(memory=10**15)}) == []


def test_an_estimate_is_held_against_a_budget_by_its_likely_value_alone() -> None:
    entry = Entry(attempt().candidate, measurement(latency_ms=1.0, width_ms=0.8), 1)
    assert with_point_latency(entry) is entry  # what was measured keeps its interval
    estimated = replace(entry, measurement=replace(entry.measurement, origin="estimated"))
    latency = with_point_latency(estimated).measurement.latency
    assert latency is not None
    assert (latency.p90.low, latency.p90.value, latency.p90.high) == (1.0, 1.0, 1.0)


def test_the_choice_among_estimates_settles_nothing_and_says_how_to() -> None:
    choice = Choice("MEETS", "a", None, "a meets it.")
    told = provisional(PI, choice, [attempt("a")], Path("out/bundle"))
    assert (told.verdict, told.winner, told.nearest) == ("PROVISIONAL", None, "a")
    assert "By the estimates: a meets it. To settle it, copy out/bundle" in told.explanation
    assert "this machine is x86_64" in told.explanation


def test_without_a_nearest_the_most_accurate_is_expected_and_without_any_nothing_changes() -> None:
    choice = Choice("INFEASIBLE", None, None, "nothing fits.")
    told = provisional(PI, choice, [attempt("b", drop=0.1), attempt("a", drop=0.01)], Path("bundle"))
    assert told.nearest == "a"
    assert provisional(PI, choice, [], Path("bundle")) is choice


def test_a_narrower_structure_is_estimated_to_be_faster(tmp_path: Path) -> None:
    variant = as_variant(residual_network(tmp_path / "net.onnx"))

    def with_macs(macs: int) -> Cost:
        return Cost(macs, 1000, 4000, 100, (LayerCost("conv", "Conv", macs, 1000, 100),))

    original, half = (replace(variant, cost=with_macs(macs)) for macs in (10**8, 5 * 10**7))
    lead = attempt(precision="fp32").candidate
    (structure,) = estimate_structures(PI.target, 1, [half], original, [lead])
    (whole,) = estimate_structures(PI.target, 1, [original], original, [lead])
    assert (structure.fraction, structure.size_bytes, structure.peak_memory_bytes) == (0.5, 4000, 4100)
    assert structure.latency_ms < whole.latency_ms


def test_ratios_are_to_the_fastest_float_build_of_the_original() -> None:
    entries = [
        Entry(attempt(name, precision=precision, variant=variant).candidate, measurement(name, ms), 1)
        for name, precision, variant, ms in (
            ("a", "fp32", "original", 2.0),
            ("b", "fp32", "original", 1.0),
            ("c", "fp32", "pruned-50", 0.5),
            ("d", "int8", "original", 0.2),
        )
    ]
    assert baseline_id(entries) == "b"
    assert baseline_id(entries[2:]) is None


def test_only_what_was_measured_and_did_not_break_is_chosen_among() -> None:
    attempts = [attempt("a"), attempt("b"), attempt("c")]
    measured = {name: replace(measurement(name, 1.0), accuracy=attempts[0].accuracy) for name in ("a", "b")}
    kept = without(measured, [Failure("a", "memory", "too large")])
    assert set(kept) == {"b"}
    choice = judged(budget(max_latency_ms=5.0), attempts, kept, [], [])
    assert (choice.verdict, choice.winner) == ("MEETS", "b")


@pytest.mark.parametrize("winner", ["a", None])
def test_the_expectation_is_the_winner_or_the_nearest(winner: str | None) -> None:
    choice = Choice("MEETS" if winner else "MISSES", winner, "b", "so.")
    told = provisional(PI, choice, [attempt("a"), attempt("b")], Path("bundle"))
    assert told.nearest == (winner or "b")
