from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from edgekit.report import print_summary
from edgekit.result import Result
from edgekit.testing.results import example_result
from edgekit.types import Rejection, Verdict


def printed(result: Result, folder: Path | None = None) -> str:
    stream = StringIO()
    print_summary(result, Console(file=stream, width=80), folder)
    return stream.getvalue()


@pytest.mark.parametrize("verdict", ["MEETS", "MISSES", "INFEASIBLE"])
@pytest.mark.parametrize("count", [6, 20])
def test_no_line_is_wider_than_eighty_columns(verdict: Verdict, count: int) -> None:
    text = printed(example_result(verdict, candidates=count, emulated=1), Path("out"))
    assert max(cell_len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("verdict", ["MEETS", "MISSES", "INFEASIBLE"])
def test_the_first_line_is_the_verdict(verdict: Verdict) -> None:
    assert printed(example_result(verdict)).startswith(f"{verdict}  ")


def test_a_winner_is_told_with_its_paths_and_the_next_command() -> None:
    text = printed(example_result(), Path("out"))
    for part in ("out/bundle", "out/report.html", "edgekit bundle verify out/bundle", "drop ≤ 1.00 points"):
        assert part in text


def test_without_a_winner_no_bundle_is_promised() -> None:
    assert "bundle" not in printed(example_result("MISSES"), Path("out"))


def test_every_listed_candidate_has_its_reason() -> None:
    result = example_result()
    text = " ".join(printed(result).split())
    assert all(candidate.why in text for candidate in result.candidates)


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
    assert "    one fp8, two fp8: no runtime here computes in FP8; int8" in printed(result).splitlines()


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
