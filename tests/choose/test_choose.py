"""choose: budget and measurements in, verdict and reasons out."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.choose import Entry, choose, pareto_frontier
from edgekit.errors import BudgetError
from edgekit.types import (
    Accuracy,
    Budget,
    Candidate,
    Environment,
    Estimate,
    Failure,
    Latency,
    Measurement,
    Origin,
    Precision,
    Rejection,
)

HERE = Environment("m", "cpu", (), 1, 1, "os", "3.11", {}, 1, (0,), "", 0.0)


def entry(
    name: str,
    ms: float | None = 1.0,
    drop: float | None = 0.0,
    *,
    size: int = 1000,
    memory: int = 1000,
    half_ms: float = 0.0,
    half_drop: float = 0.0,
    origin: Origin = "device",
    precision: Precision = "fp32",
    variant: str = "",
) -> Entry:
    latency = accuracy = None
    if ms is not None:
        at = Estimate(ms, ms - half_ms, ms + half_ms)
        latency = Latency(at, at, at, ((ms,),), 1, True)
    if drop is not None:
        paired = Estimate(drop, drop - half_drop, drop + half_drop)
        accuracy = Accuracy("top-1", "validation", 100, Estimate(0.9 - drop, 0.0, 1.0), paired)
    candidate = Candidate(name, variant or name, "onnxruntime", precision)
    return Entry(candidate, Measurement(name, origin, HERE, 1.0, memory, latency, accuracy), size)


def test_the_most_accurate_of_those_that_meet_wins() -> None:
    choice = choose(
        Budget(max_latency_ms=2.0), [entry("a", 1.0, 0.005), entry("b", 1.9, 0.001), entry("c", 3.0)]
    )
    assert (choice.verdict, choice.winner, choice.nearest) == ("MEETS", "b", None)


def test_a_latency_whose_interval_reaches_over_the_limit_does_not_meet() -> None:
    choice = choose(Budget(max_latency_ms=2.0), [entry("a", 1.95, half_ms=0.1)])
    assert choice.verdict == "MISSES"


def test_a_latency_whose_interval_ends_at_the_limit_meets() -> None:
    assert choose(Budget(max_latency_ms=2.0), [entry("a", 1.5, half_ms=0.5)]).verdict == "MEETS"


def test_a_latency_just_over_the_limit_does_not_meet_although_the_ratio_rounds_to_one() -> None:
    limit = 1.9999999999999996
    choice = choose(Budget(max_latency_ms=limit), [entry("a", math.nextafter(limit, 3.0))])
    assert choice.verdict == "MISSES"


def test_the_reason_for_being_too_slow_has_the_interval_and_the_limit() -> None:
    slow = entry("slow", 3.1, half_ms=0.05)
    choice = choose(Budget(max_latency_ms=2.0), [entry("a", 1.0), slow])
    assert choice.reasons["slow"] == "slower than the budget: p90 3.10 ms [3.05, 3.15] > 2.00 ms"


def test_numbers_that_would_print_alike_get_more_digits() -> None:
    choice = choose(Budget(max_latency_ms=2.0), [entry("a", 1.9, half_ms=0.1004)])
    assert choice.reasons["a"] == "slower than the budget: p90 1.9000 ms [1.7996, 2.0004] > 2.0000 ms"


def test_a_drop_whose_interval_reaches_over_the_limit_meets_with_a_reservation() -> None:
    choice = choose(Budget(max_drop=0.01), [entry("a", drop=0.008, half_drop=0.005)])
    assert choice.verdict == "MEETS"
    assert "not established: the 95 % interval reaches 1.3 points" in choice.reasons["a"]
    assert "not established: the 95 % interval reaches 1.3 points" in choice.explanation


def test_a_drop_over_the_limit_does_not_meet() -> None:
    choice = choose(Budget(max_drop=0.01), [entry("a", drop=0.013)])
    assert choice.verdict == "MISSES"
    assert choice.reasons["a"] == "less accurate than the budget: drop 1.3 points > 1 point"


def test_equally_accurate_candidates_go_to_the_faster_then_the_smaller_then_by_name() -> None:
    assert choose(Budget(), [entry("a", 2.0), entry("b", 1.0)]).winner == "b"
    assert choose(Budget(), [entry("a", size=2000), entry("b", size=1000)]).winner == "b"
    assert choose(Budget(), [entry("b"), entry("a")]).winner == "a"


def test_fastest_takes_the_lowest_latency_within_the_accuracy_limit() -> None:
    entries = [entry("a", 2.0, 0.0), entry("b", 1.0, 0.009), entry("c", 0.5, 0.02)]
    choice = choose(Budget(fastest=True), entries)
    assert (choice.verdict, choice.winner) == ("MEETS", "b")
    assert choice.reasons["a"].startswith("slower than the winner: p90 2.00 ms")


def test_the_budgets_percentile_is_the_one_that_counts() -> None:
    one = entry("a", 1.0)
    assert one.measurement.latency is not None
    tail = replace(one.measurement.latency, p99=Estimate(5.0, 5.0, 5.0))
    slow_tail = replace(one, measurement=replace(one.measurement, latency=tail))
    assert choose(Budget(max_latency_ms=2.0, percentile="p90"), [slow_tail]).verdict == "MEETS"
    assert choose(Budget(max_latency_ms=2.0, percentile="p99"), [slow_tail]).verdict == "MISSES"


def test_size_and_memory_are_limits_too() -> None:
    choice = choose(Budget(max_size_bytes=500_000), [entry("a", size=1_240_000)])
    assert choice.reasons["a"] == "larger than the budget: 1.24 MB > 500.00 kB"
    choice = choose(Budget(max_memory_bytes=2_000_000), [entry("a", memory=3_000_000)])
    assert choice.reasons["a"] == "needs more memory than the budget: 3.00 MB > 2.00 MB"


def test_a_quantized_build_slower_than_its_own_float_build_is_not_chosen() -> None:
    entries = [
        entry("float", 1.0, 0.001, variant="v"),
        entry("int8", 1.2, 0.0, precision="int8", variant="v"),
    ]
    choice = choose(Budget(), entries)
    assert choice.winner == "float"
    assert choice.reasons["int8"].startswith("slower than float, the float build of its own variant")


def test_a_quantized_build_slower_than_its_float_build_wins_where_the_float_one_is_too_large() -> None:
    entries = [
        entry("float", 1.0, 0.001, size=4000, variant="v"),
        entry("int8", 1.2, 0.0, precision="int8", variant="v"),
    ]
    assert choose(Budget(max_size_bytes=2000), entries).winner == "int8"


def test_only_one_origin_is_ranked_and_the_others_say_where_they_were_measured() -> None:
    choice = choose(Budget(), [entry("board", 2.0, 0.005), entry("here", 1.0, 0.0, origin="host")])
    assert choice.winner == "board"
    assert choice.reasons["here"] == "measured on the host, not on the board"
    assert choice.frontier == ("board",)


def test_when_the_board_is_asked_for_host_measurements_cannot_win() -> None:
    choice = choose(Budget(), [entry("here", origin="host")], origin="device")
    assert (choice.verdict, choice.winner) == ("INFEASIBLE", None)
    assert choice.explanation == "Nothing was measured on the board: measured on the host, not on the board."


def test_a_choice_by_host_measurements_says_so() -> None:
    assert choose(Budget(), [entry("here", origin="host")]).explanation.endswith(
        "on the host, not on the board."
    )


def test_a_miss_names_the_nearest_and_what_it_would_take() -> None:
    entries = [entry("near", 2.5, half_ms=0.1), entry("far", 9.0)]
    choice = choose(Budget(max_latency_ms=2.0), entries)
    assert (choice.verdict, choice.winner, choice.nearest) == ("MISSES", None, "near")
    assert choice.explanation == (
        "No candidate meets the budget. The nearest is near, slower than the budget: "
        "p90 2.50 ms [2.40, 2.60] > 2.00 ms. "
        "It would take: 1.30 times faster, or a latency budget of 2.60 ms."
    )


def test_the_nearest_has_the_smallest_sum_of_relative_excesses() -> None:
    entries = [entry("slow", 2.4, 0.0), entry("inaccurate", 1.0, 0.011), entry("both", 2.1, 0.0109)]
    assert choose(Budget(max_latency_ms=2.0, max_drop=0.01), entries).nearest == "inaccurate"


def test_an_accuracy_limit_of_zero_still_gives_a_nearest() -> None:
    assert choose(Budget(max_drop=0.0), [entry("a", drop=0.02), entry("b", drop=0.01)]).nearest == "b"


def test_without_any_candidate_it_is_infeasible_and_says_why() -> None:
    failed = [Failure("a", "export", "an op is missing"), Failure("b", "run", "SIGILL")]
    assert choose(Budget(), []).explanation == "There is no candidate."
    choice = choose(Budget(), [], failures=failed)
    assert choice.verdict == "INFEASIBLE"
    assert choice.explanation == "All 2 candidates failed; a at export: an op is missing."
    rejected = [Rejection("int8", "the GPU has no INT8")]
    assert "int8: the GPU has no INT8" in choose(Budget(), [], rejections=rejected).explanation


def test_what_was_not_measured_meets_no_limit() -> None:
    choice = choose(Budget(), [entry("a", drop=None)])
    assert choice.verdict == "INFEASIBLE"
    assert choice.reasons["a"] == "its accuracy was not measured"
    assert choose(Budget(max_drop=None), [entry("a", drop=None)]).verdict == "MEETS"
    assert choose(Budget(max_latency_ms=1.0), [entry("a", ms=None)]).verdict == "INFEASIBLE"
    assert choose(Budget(fastest=True), [entry("a", ms=None)]).verdict == "INFEASIBLE"
    assert choose(Budget(max_memory_bytes=10), [entry("a", memory=0)]).verdict == "INFEASIBLE"


def test_a_latency_that_is_not_a_number_counts_as_not_measured() -> None:
    choice = choose(Budget(max_latency_ms=1.0), [entry("a", ms=math.nan)])
    assert choice.reasons["a"] == "its latency was not measured"


def test_the_explanation_compares_with_the_original() -> None:
    choice = choose(Budget(max_latency_ms=2.0), [entry("orig", 3.0), entry("a", 1.5, 0.001)], "orig")
    assert choice.explanation.endswith("; 2.00 times faster (2.00 to 2.00) than the original (orig).")


@pytest.mark.parametrize(
    "budget",
    [
        Budget(max_latency_ms=0.0),
        Budget(max_latency_ms=math.nan),
        Budget(max_size_bytes=-1),
        Budget(max_memory_bytes=0),
        Budget(max_drop=math.inf),
    ],
)
def test_a_limit_that_nothing_can_be_compared_with_is_refused(budget: Budget) -> None:
    with pytest.raises(BudgetError, match="allowed: a finite"):
        choose(budget, [entry("a")])


def test_two_entries_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same candidate id"):
        choose(Budget(), [entry("a"), entry("a")])


def test_choosing_imports_no_numpy() -> None:
    code = "import sys, edgekit.choose; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Coarse grids, so that ties and exact hits of a limit occur.
GRID_MS = st.integers(1, 12).map(lambda tenths: tenths / 4)
GRID_DROP = st.integers(-2, 8).map(lambda part: part / 400)
PRECISIONS: list[Precision] = ["fp32", "fp16", "int8", "w8"]
ORIGINS: list[Origin] = ["device", "device", "device", "host", "estimated"]


@st.composite
def entry_lists(draw: st.DrawFn, least: int = 0) -> list[Entry]:
    return [
        entry(
            f"c{index}",
            draw(st.none() | GRID_MS | GRID_MS | GRID_MS),
            draw(st.none() | GRID_DROP | GRID_DROP | GRID_DROP),
            size=draw(st.sampled_from([1000, 2000, 3000])),
            memory=draw(st.sampled_from([1000, 2000])),
            half_ms=draw(st.sampled_from([0.0, 0.25])),
            half_drop=draw(st.sampled_from([0.0, 0.005])),
            origin=draw(st.sampled_from(ORIGINS)),
            precision=draw(st.sampled_from(PRECISIONS)),
            variant=draw(st.sampled_from(["v", "w"])),
        )
        for index in range(draw(st.integers(least, 7)))
    ]


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    return Budget(
        max_latency_ms=draw(st.none() | GRID_MS),
        fastest=draw(st.booleans()),
        percentile=draw(st.sampled_from(["p50", "p90", "p99"])),
        max_drop=draw(st.none() | GRID_DROP),
        max_size_bytes=draw(st.none() | st.sampled_from([1000, 2000])),
        max_memory_bytes=draw(st.none() | st.sampled_from([1000, 2000])),
    )


def meets(one: Entry, budget: Budget) -> bool:
    """The rule again, written in another way."""
    latency = one.measurement.latency
    accuracy = one.measurement.accuracy
    at = latency.at(budget.percentile) if latency else None
    return (
        (budget.max_drop is None or (accuracy is not None and accuracy.drop.value <= budget.max_drop))
        and (budget.max_latency_ms is None or (at is not None and at.high <= budget.max_latency_ms))
        and (not budget.fastest or at is not None)
        and (budget.max_size_bytes is None or one.size_bytes <= budget.max_size_bytes)
        and (budget.max_memory_bytes is None or one.measurement.peak_memory_bytes <= budget.max_memory_bytes)
    )


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    best = next((o for o in ORIGINS if any(e.measurement.origin == o for e in entries)), "device")
    return [one for one in entries if one.measurement.origin == best]


def time_of(one: Entry) -> float:
    return one.measurement.latency.p90.value if one.measurement.latency else math.inf


def drop_of(one: Entry) -> float:
    return one.measurement.accuracy.drop.value if one.measurement.accuracy else math.inf


def beaten_by_its_float_build(one: Entry, meeting: Sequence[Entry]) -> bool:
    return one.candidate.precision in ("int8", "w8") and any(
        rival.candidate.variant == one.candidate.variant
        and rival.candidate.precision in ("fp32", "fp16")
        and time_of(rival) < time_of(one)
        for rival in meeting
    )


@given(budgets(), entry_lists())
def test_the_winner_meets_the_budget_and_there_is_one_whenever_any_candidate_meets(
    budget: Budget, entries: list[Entry]
) -> None:
    choice = choose(budget, entries)
    meeting = [one for one in ranked(entries) if meets(one, budget)]
    assert (choice.verdict == "MEETS") == bool(meeting)
    assert (choice.winner is not None) == bool(meeting)
    assert choice.winner is None or choice.winner in [one.id for one in meeting]
    assert (choice.nearest is not None) == (choice.verdict == "MISSES")


def low_of(one: Entry) -> float:
    return one.measurement.accuracy.drop.low if one.measurement.accuracy else math.inf


@given(budgets(), entry_lists())
def test_no_other_candidate_that_meets_is_better(budget: Budget, entries: list[Entry]) -> None:
    """By values none is both faster and more accurate; what is better in the first quantity is so within the noise."""
    choice = choose(budget, entries)
    meeting = [one for one in ranked(entries) if meets(one, budget)]
    rivals = [one for one in meeting if not beaten_by_its_float_build(one, meeting)]
    for winner in [one for one in meeting if one.id == choice.winner]:
        assert winner in rivals
        mine = time_of(winner), drop_of(winner), winner.size_bytes
        for rival in rivals:
            its = time_of(rival), drop_of(rival), rival.size_bytes
            assert its == mine or any(more > less for more, less in zip(its, mine, strict=True))
        if not budget.fastest:
            least = min(drop_of(one) for one in meeting)
            assert all(low_of(one) > least for one in rivals if time_of(one) < mine[0])


@given(budgets(), entry_lists())
def test_what_is_exact_is_ordered_by_its_values(budget: Budget, entries: list[Entry]) -> None:
    """Without any noise the most accurate (or the fastest) wins, whatever else it may be."""
    exact = [
        replace(one, measurement=replace(one.measurement, latency=flat(one), accuracy=sure(one)))
        for one in entries
    ]
    choice = choose(budget, exact)
    meeting = [one for one in ranked(exact) if meets(one, budget)]
    rivals = [one for one in meeting if not beaten_by_its_float_build(one, meeting)]
    better = time_of if budget.fastest else drop_of
    assert [better(one) for one in exact if one.id == choice.winner] == [
        min(better(one) for one in rivals) for _ in rivals[:1]
    ]


def flat(one: Entry) -> Latency | None:
    """Its latency without an interval."""
    latency = one.measurement.latency
    if latency is None:
        return None
    at = Estimate(*[latency.p90.value] * 3)
    return replace(latency, p50=at, p90=at, p99=at)


def sure(one: Entry) -> Accuracy | None:
    """Its accuracy without an interval."""
    accuracy = one.measurement.accuracy
    return accuracy and replace(accuracy, drop=Estimate(*[accuracy.drop.value] * 3))


# Within the noise of the data


@pytest.mark.parametrize(
    ("half", "winner"), [(0.0, "fp32"), (0.004, "fp32"), (0.006, "fp16"), (0.02, "fp16")]
)
def test_within_the_noise_of_the_samples_the_faster_wins_and_it_is_said(half: float, winner: str) -> None:
    entries = [entry("fp32", 1.2, 0.0), entry("fp16", 1.0, 0.005, half_drop=half, precision="fp16")]
    choice = choose(Budget(max_drop=0.01), entries)
    assert choice.winner == winner
    said = [
        text
        for text in (choice.explanation, *choice.reasons.values())
        if "no difference in accuracy seen" in text
    ]
    assert len(said) == (3 if winner == "fp16" else 0)


def test_of_two_as_fast_the_smaller_wins_within_the_noise() -> None:
    entries = [entry("large", drop=0.0, size=3000), entry("small", drop=0.003, half_drop=0.004, size=1000)]
    choice = choose(Budget(), entries)
    assert choice.winner == "small"
    assert (
        "no difference in accuracy seen to large (drop 0.3 points [-0.1, 0.7] against 0 points [0, 0])"
        in (choice.reasons["small"])
    )
    assert "and it is smaller" in choice.explanation


def test_with_fastest_what_overlaps_is_as_fast_and_the_more_accurate_wins() -> None:
    entries = [entry("quick", 1.0, 0.008, half_ms=0.05), entry("sure", 1.04, 0.0, half_ms=0.05)]
    choice = choose(Budget(fastest=True), entries)
    assert choice.winner == "sure"
    assert "no difference in latency seen to quick" in choice.reasons["sure"]
    assert "no difference in latency seen" in choice.reasons["quick"]
    apart = [entry("quick", 1.0, 0.008, half_ms=0.01), entry("sure", 1.04, 0.0, half_ms=0.01)]
    assert choose(Budget(fastest=True), apart).winner == "quick"


def test_ties_are_no_chain() -> None:
    """b cannot be told from a, nor c from b; but c from a can."""
    entries = [
        entry("a", 3.0, 0.0),
        entry("b", 2.0, 0.003, half_drop=0.004),
        entry("c", 1.0, 0.006, half_drop=0.004),
    ]
    choice = choose(Budget(), entries)
    assert choice.winner == "b"
    assert "less accurate" not in choice.reasons["c"]
    assert "no difference in accuracy seen" in choice.reasons["c"]


# Looked at again


def test_what_was_refuted_neither_wins_nor_leads() -> None:
    entries = [entry("a", 3.0, 0.0), entry("b", 2.0, 0.004), entry("c", 1.0, 0.006, half_drop=0.004)]
    assert choose(Budget(), entries).winner == "a"
    choice = choose(Budget(), entries, refuted={"a": "too slow on its own"})
    assert choice.winner == "c"  # a, which it could be told from, leads no more
    assert choice.reasons["a"] == "too slow on its own"
    assert "tried before it: a: too slow on its own" in choice.explanation


def test_when_all_are_refuted_the_first_that_was_tried_is_nearest() -> None:
    entries = [entry("a", 3.0, 0.0), entry("b", 2.0, 0.004), entry("far", 9.0, 0.5)]
    choice = choose(Budget(), entries, refuted={"b": "no", "a": "nor this"})
    assert (choice.verdict, choice.winner, choice.nearest) == ("MISSES", None, "b")
    assert choice.explanation.endswith("when looked at again: b: no; a: nor this.")


def test_a_quantized_build_slower_than_a_refuted_float_build_is_still_not_chosen() -> None:
    entries = [entry("float", 1.0, variant="v"), entry("int8", 1.2, precision="int8", variant="v")]
    assert choose(Budget(), entries, refuted={"float": "no"}).verdict == "MISSES"


# With a confidence


def bounded(name: str, drop: float, bound: float, **more: Any) -> Entry:
    one = entry(name, 1.0, drop, **more)
    accuracy = one.measurement.accuracy
    assert accuracy is not None
    return replace(one, measurement=replace(one.measurement, accuracy=replace(accuracy, drop_bound=bound)))


def test_with_a_confidence_the_high_end_of_the_interval_counts() -> None:
    entries = [bounded("a", 0.004, 0.012), bounded("b", 0.006, 0.009)]
    assert choose(Budget(max_drop=0.01), entries).winner == "a"
    choice = choose(Budget(max_drop=0.01, confidence=0.99), entries)
    assert choice.winner == "b"
    assert choice.reasons["a"] == (
        "less accurate than the budget: drop 1.2 points (high end of its 99 % interval) > 1 point"
    )


def test_a_bound_that_was_not_computed_meets_no_confidence() -> None:
    assert choose(Budget(confidence=0.9), [entry("a")]).verdict == "INFEASIBLE"


def test_the_unchanged_network_needs_no_interval() -> None:
    one = bounded("a", 0.0, 0.04, variant="original")
    choice = choose(Budget(max_drop=0.01, confidence=0.95), [one])
    assert choice.verdict == "MEETS"
    assert "established" not in choice.explanation


def test_a_confidence_without_a_limit_is_refused() -> None:
    with pytest.raises(BudgetError, match="allowed: both, as 95% and 1%"):
        choose(Budget(max_drop=None, confidence=0.95), [entry("a")])


@given(budgets(), entry_lists(), st.randoms(use_true_random=False))
def test_the_order_of_the_entries_does_not_matter(
    budget: Budget, entries: list[Entry], chance: random.Random
) -> None:
    shuffled = list(entries)
    chance.shuffle(shuffled)
    assert choose(budget, shuffled) == choose(budget, entries)


@given(
    budgets(),
    entry_lists(least=1),
    GRID_MS,
    GRID_DROP,
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from(PRECISIONS),
    st.sampled_from("vw"),
)
def test_adding_a_candidate_that_the_winner_dominates_changes_nothing(
    budget: Budget,
    entries: list[Entry],
    more_ms: float,
    more_drop: float,
    half_ms: float,
    half_drop: float,
    precision: Precision,
    variant: str,
) -> None:
    choice = choose(budget, entries)
    for winner in [one for one in entries if one.id == choice.winner]:
        if winner.drop is None or math.isinf(time_of(winner)):
            continue
        worse = entry(
            "aaa",
            time_of(winner) + more_ms,
            drop_of(winner) + abs(more_drop),
            size=winner.size_bytes,
            memory=1,
            origin=winner.measurement.origin,
            half_ms=half_ms,
            half_drop=half_drop,
            precision=precision,
            variant=variant,
        )
        assert choose(budget, [*entries, worse]).winner == choice.winner


@given(budgets(), entry_lists(), GRID_MS, st.integers(0, 5), st.integers(0, 2000))
def test_relaxing_a_budget_never_loses_the_verdict(
    budget: Budget, entries: list[Entry], more_ms: float, more_drop: int, more_bytes: int
) -> None:
    relaxations = [
        replace(budget, max_latency_ms=budget.max_latency_ms and budget.max_latency_ms + more_ms),
        replace(budget, max_drop=None if budget.max_drop is None else budget.max_drop + more_drop / 400),
        replace(budget, max_size_bytes=budget.max_size_bytes and budget.max_size_bytes + more_bytes),
        replace(budget, max_memory_bytes=budget.max_memory_bytes and budget.max_memory_bytes + more_bytes),
        replace(budget, max_latency_ms=None),
        replace(budget, max_drop=None),
    ]
    if choose(budget, entries).verdict == "MEETS":
        assert {choose(relaxed, entries).verdict for relaxed in relaxations} == {"MEETS"}


@given(entry_lists())
def test_the_frontier_is_all_that_none_dominates(entries: list[Entry]) -> None:
    measured = [one for one in entries if math.isfinite(time_of(one)) and math.isfinite(drop_of(one))]

    def dominated(one: Entry) -> bool:
        mine = (time_of(one), drop_of(one))
        return any(
            theirs[0] <= mine[0] and theirs[1] <= mine[1] and theirs != mine
            for theirs in ((time_of(rival), drop_of(rival)) for rival in measured)
        )

    frontier = pareto_frontier(entries, "p90")
    assert sorted(frontier) == sorted(one.id for one in measured if not dominated(one))
    times = [time_of(next(one for one in entries if one.id == name)) for name in frontier]
    assert times == sorted(times)


@given(budgets(), entry_lists())
def test_every_candidate_has_a_reason_in_one_line(budget: Budget, entries: list[Entry]) -> None:
    choice = choose(budget, entries)
    assert set(choice.reasons) == {one.id for one in entries}
    assert all(reason and "\n" not in reason for reason in choice.reasons.values())
    assert choice.explanation.endswith(".")


@given(budgets(), entry_lists())
def test_following_the_advice_of_a_miss_meets(budget: Budget, entries: list[Entry]) -> None:
    choice = choose(budget, entries)
    if choice.verdict != "MISSES" or "latency budget of" not in choice.explanation:
        return
    text = choice.explanation.partition("latency budget of ")[2].partition(" ms")[0]
    relaxed = replace(budget, max_latency_ms=float(text))
    assert "slower than the budget" not in choose(relaxed, entries).reasons[str(choice.nearest)]
