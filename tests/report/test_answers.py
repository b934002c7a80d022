"""What a reader asks first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.report.answers import answers
from edgekit.report.verdict import gain_sentence
from edgekit.testing.results import example_result
from edgekit.types import Agreement


@pytest.mark.parametrize(
    ("differing", "told"), [(0, "agree on all 120"), (3, "gives another class in 3 of 120")]
)
def test_a_board_that_answers_otherwise_is_told(differing: int, told: str) -> None:
    seen = Agreement(120, differing, True, 0.0123, 17, "scores")
    answer = next(
        row for row in answers(replace(example_result(), agreement=seen), "b") if row.question == "board"
    )
    assert told in answer.text
    assert "1.2 % of the range of scores, at sample 17" in answer.text
    assert all(row.question != "board" for row in answers(example_result(), "b"))


def test_no_speed_is_claimed_of_what_was_measured_under_emulation() -> None:
    result = example_result()
    emulated = tuple(replace(candidate, origin="emulated") for candidate in result.candidates)
    told = gain_sentence(replace(result, candidates=emulated))
    assert "only the board can tell" in told
    assert "faster" not in told
    assert "faster" in gain_sentence(result)
