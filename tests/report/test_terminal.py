from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from edgekit.report import print_summary
from edgekit.result import Result
from edgekit.testing.results import example_result
from edgekit.types import Rejection, Verdict


def printed(result: Result, folder: Path | None = None, width: int = 80) -> str:
    stream = StringIO()
    print_summary(result, Console(file=stream, width=width), folder)
    return stream.getvalue()


def estimated(latency_ms: float = 10.0) -> Result:
    """Nothing was on the board: ranges that overlap, and a budget."""
    result = example_result("MISSES")
    candidates = tuple(
        replace(
            candidate,
            origin="estimated",
            latency_ms=candidate.latency_ms
            and replace(
                candidate.latency_ms, p50=6.95, p90=6.95, p99=6.95, low=3.45, high=24.8, rounds_ms=()
            ),
        )
        for candidate in result.candidates
    )
    budget = replace(result.budget, max_latency_ms=latency_ms)
    return replace(result, verdict="PROVISIONAL", candidates=candidates, budget=budget)


@pytest.mark.parametrize("verdict", ["MEETS", "MISSES", "INFEASIBLE", "PROVISIONAL"])
@pytest.mark.parametrize("count", [6, 20])
@pytest.mark.parametrize("width", [60, 80])
def test_no_line_is_wider_than_the_console(verdict: str, count: int, width: int) -> None:
    if verdict == "PROVISIONAL":
        result = estimated()
    else:
        result = example_result(cast(Verdict, verdict), candidates=count, emulated=1)
    lines = printed(result, Path("out"), width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_each_candidate_has_one_line_with_its_accuracy_and_its_time(width: int) -> None:
    result = example_result(candidates=6)
    lines = printed(result, width=width).splitlines()
    assert sum("pruned-28-ov-int8-mse" in line for line in lines) == 1
    (line,) = (line for line in lines if "pruned-28-ov-int8-mse" in line)
    assert "91.37 %" in line
    assert "0.37" in line


def test_estimates_are_told_as_ranges_and_what_they_leave_open_as_open() -> None:
    text = " ".join(printed(estimated()).split())
    assert "latency, estimated: 3.45 to 24.8 ms likely 6.95 ms" in text
    assert "can't tell: the limit lies within the range" in text
    assert "[6.95, 6.95]" not in text
    assert "expected to do best" not in text
    assert "how their latencies compare, only the board can tell" in text


def test_a_budget_below_every_range_is_said_to_be_so() -> None:
    text = " ".join(printed(estimated(3.0)).split())
    assert "by the estimates no candidate meets 3.00 ms" in text
    assert "all of the range is over the limit; not measured" in text


def test_overlapping_intervals_give_no_ratio() -> None:
    result = example_result()
    wide = tuple(
        replace(each, latency_ms=each.latency_ms and replace(each.latency_ms, low=0.1, high=9.0))
        for each in result.candidates
    )
    text = " ".join(printed(replace(result, candidates=wide)).split())
    assert "No difference in latency was seen from the original float network; 5.95 times smaller." in text
    assert "times faster" not in text


@pytest.mark.parametrize("verdict", ["MEETS", "MISSES", "INFEASIBLE", "PROVISIONAL"])
def test_the_answers_come_first(verdict: str) -> None:
    result = estimated() if verdict == "PROVISIONAL" else example_result(cast(Verdict, verdict))
    text = printed(result, Path("out"))
    wanted = {"MEETS": ["ship", "how", "float", "claim"], "INFEASIBLE": ["ship", "float", "why", "it takes"]}
    told = re.findall(r"^  (ship|how|float|claim|why|it takes)  ", text.split("candidate  ")[0], re.MULTILINE)
    assert told == wanted.get(verdict, ["ship", "how", "float", "it takes"])


def test_a_miss_names_the_limits_that_the_nearest_would_pass_with() -> None:
    result = example_result("MISSES")
    nearest = next(each for each in result.candidates if each.id == result.nearest)
    assert nearest.latency_ms
    found = re.search(r"--max-latency ([0-9.]+)ms", printed(result))
    assert found
    assert nearest.latency_ms.high <= float(found[1]) <= nearest.latency_ms.high * 1.01


def test_a_gain_is_called_a_gain_with_its_interval_turned() -> None:
    result = example_result()
    assert result.claim
    claim = replace(result.claim, drop=-0.02, drop_low=-0.03, drop_high=0.001)
    text = " ".join(printed(replace(result, claim=claim)).split())
    assert "gain (test): 2.00 points 95 %: −0.10 to 3.00" in text
    assert "drop −" not in text


def test_a_latency_that_was_timed_once_more_says_so() -> None:
    result = example_result()
    (winner,) = (candidate for candidate in result.candidates if candidate.id == result.winner)
    assert "timed once more" not in printed(result)
    assert "timed once more" in printed(replace(result, confirmed=winner.latency_ms))


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (
            0.009,
            "at 95 % confidence; within the limit: the high end of its interval, of 95 % or more, is 0.90",
        ),
        (
            0.013,
            "drop ≤ 1.00 points at 95 % confidence; the high end of its interval, of 95 % or more, is 1.30 points",
        ),
    ],
)
def test_a_confidence_is_told_and_the_end_of_the_interval_counts(bound: float, said: str) -> None:
    result = example_result()
    assert result.claim
    budget = replace(result.budget, max_drop=0.01, confidence=0.95)
    claim = replace(result.claim, drop=0.004, drop_bound=bound)
    text = " ".join(printed(replace(result, budget=budget, claim=claim), width=300).split())
    assert said in text
    assert ("✗ drop" in text) == (bound > 0.01)


def test_the_unchanged_network_needs_no_interval() -> None:
    result = example_result()
    floating = next(c for c in result.candidates if c.variant == "original" and c.precision == "fp32")
    assert result.claim
    claim = replace(result.claim, drop=0.0, drop_low=-0.02, drop_high=0.02, drop_bound=0.02)
    budget = replace(result.budget, max_drop=0.01, confidence=0.95)
    told = replace(result, winner=floating.id, budget=budget, claim=claim, established=True)
    assert "✗ drop" not in printed(told)
    assert "✓ drop" in printed(told)


def test_a_limit_that_asks_for_a_gain_says_so() -> None:
    result = example_result("MISSES")
    budget = replace(result.budget, max_drop=-0.02)
    assert "gain ≥ 2.00 points" in printed(replace(result, budget=budget))


def test_what_was_not_steady_and_a_busy_machine_are_told() -> None:
    result = example_result()
    other = next(each for each in result.candidates if each.id != result.winner and each.latency_ms)
    assert other.latency_ms
    shaken = tuple(
        replace(each, latency_ms=replace(other.latency_ms, steady=False)) if each is other else each
        for each in result.candidates
    )
    busy = replace(result.environment, notes=("the machine was busy: load 3.9 on 2 cores",))
    text = printed(replace(result, candidates=shaken, environment=busy))
    assert "the machine was busy: load 3.9 on 2 cores" in text
    assert "~ the latency did not settle" in text
    assert (
        f"The latency of 1 other candidate did not settle, so a comparison with them is weak: {other.id}"
        in (" ".join(text.split()))
    )


@pytest.mark.parametrize("verdict", ["MEETS", "MISSES", "INFEASIBLE"])
def test_the_first_line_is_the_verdict(verdict: Verdict) -> None:
    assert printed(example_result(verdict)).startswith(f"{verdict}  ")


def test_a_winner_is_told_with_its_paths_and_the_next_command() -> None:
    text = printed(example_result(), Path("out"))
    for part in ("out/bundle", "out/report.html", "edgekit bundle verify out/bundle", "drop ≤ 1.00 points"):
        assert part in text


def test_without_a_winner_the_bundle_of_the_nearest_is_called_what_it_is() -> None:
    text = " ".join(printed(example_result("MISSES"), Path("out")).split())
    assert "Nothing meets the budget. The nearest is out/bundle/model/pruned-45-ov-int8-mse" in text
    assert "bundle" not in printed(example_result("INFEASIBLE", candidates=0), Path("out"))


def test_why_each_one_lost_is_left_to_the_report() -> None:
    result = example_result()
    text = " ".join(printed(result).split())
    assert not any(candidate.why in text for candidate in result.candidates if candidate.why)


def test_of_many_candidates_the_winner_and_the_frontier_are_listed() -> None:
    result = example_result(candidates=20)
    text = printed(result)
    assert "and 8 more in the report" in text
    assert all(each.id in text for each in result.candidates if each.frontier and len(each.id) < 24)


def test_brackets_in_names_are_text_and_not_markup() -> None:
    result = example_result("INFEASIBLE", candidates=0)
    assert "[bold]x[/nothing]" in printed(replace(result, explanation="[bold]x[/nothing]"))


def test_no_candidates_at_all_still_say_why() -> None:
    result = example_result("INFEASIBLE", candidates=0)
    assert "below the time that an empty network takes" in " ".join(printed(result).split())


def test_runtimes_rejected_for_one_reason_share_a_line() -> None:
    alike = [Rejection(f"{name} fp8", "no runtime here computes in FP8", "int8") for name in ("one", "two")]
    result = replace(example_result("MEETS"), rejected=tuple(alike), failures=(), warnings=())
    assert (
        "    one fp8, two fp8: no runtime here computes in FP8; instead: int8" in printed(result).splitlines()
    )


def test_a_winner_that_did_not_settle_is_told_with_what_the_machine_did() -> None:
    result = example_result()
    assert "did not settle" not in printed(result)
    unsettled = tuple(
        replace(
            candidate,
            latency_ms=candidate.latency_ms and replace(candidate.latency_ms, steady=False, preemptions=41),
        )
        for candidate in result.candidates
    )
    text = " ".join(printed(replace(result, candidates=unsettled)).split())
    assert "pruned-45-ov-int8-mse did not settle; preemptions while it was timed: 41" in text
    assert "cpu-thermal 41.0 → 63.5 °C" in text
