"""What a reader asks first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.report.answers import answers
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
