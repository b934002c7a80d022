"""The claim: who is looked at again, by what, and what stands in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from edgekit.building.candidates.judging import judged
from edgekit.building.outcome.claim import TRIES, Claim, Looks, settle_claim
from edgekit.building.values import Attempt, Outcome
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Accuracy, Budget, Estimate, Failure, Measurement, Precision
from tests.building.parts import attempt, measurement

LIMIT = Budget(max_latency_ms=2.0, max_drop=0.01)


@dataclass
class Board:
    """Candidates as they seemed (validation, rounds beside the others), and as they are when looked at again."""

    folder: Path
    attempts: list[Attempt] = field(default_factory=list)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    fresh_ms: dict[str, float] = field(default_factory=dict)
    test: dict[str, tuple[float, float]] = field(default_factory=dict)  # drop, half its 95 % interval
    looked: list[str] = field(default_factory=list)

    def has(
        self,
        name: str,
        ms: float = 1.0,
        drop: float = 0.0,
        *,
        fresh_ms: float | None = None,
        test: tuple[float, float] = (0.0, 0.001),
        variant: str = "pruned",
        precision: Precision = "fp32",
    ) -> None:
        made = attempt(name, precision=precision, drop=drop, variant=variant)
        self.attempts.append(made)
        self.measurements[name] = replace(measurement(name, ms), accuracy=made.accuracy)
        self.fresh_ms[name] = ms if fresh_ms is None else fresh_ms
        self.test[name] = test

    def time_alone(self, made: Attempt) -> Measurement | Failure:
        name = made.candidate.id
        self.looked.append(f"time {name}")
        if self.fresh_ms[name] < 0:
            return Failure(name, "measure (time)", "ended by SIGKILL")
        return measurement(name, self.fresh_ms[name])

    def tested(self, made: Attempt, confidence: float | None) -> Accuracy:
        """The interval is taken to be as wide as confidence asks: twice at that of a retry."""
        name = made.candidate.id
        self.looked.append(f"test {name}")
        drop, half = self.test[name]
        bound = None if confidence is None else drop + (half if confidence <= 0.95 else 2 * half)
        at = Estimate(drop, drop - half, drop + half)
        return Accuracy("top1", "test", 200, Estimate(0.9, 0.8, 1.0), at, drop_bound=bound)

    def claim(self, budget: Budget = LIMIT) -> Claim:
        original = as_variant(residual_network(self.folder / "net.onnx"))
        choose = partial(judged, budget, self.attempts, self.measurements, (), ())
        outcome = Outcome(
            original=original, networks={}, reference=self.attempts[0].artifact, attempts=tuple(self.attempts),
            measurements=self.measurements, choice=choose(), failures=(), rejections=(), variants=(),
        )  # fmt: skip

        def choose_without(refuted: Mapping[str, str]) -> object:
            return choose(refuted=refuted)

        return settle_claim(outcome, budget, Looks(choose_without, self.time_alone, self.tested))  # type: ignore[arg-type]


def test_a_winner_that_holds_is_looked_at_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("a", 1.5)
    board.has("b", 1.0, 0.005)
    claim = board.claim()
    assert (claim.choice.winner, claim.established, board.looked) == ("a", True, ["time a", "test a"])
    assert claim.choice.explanation.endswith(
        "Established: on the test split the drop is 0 points [-0.1, 0.1], and the high end of its 95 % interval is "
        "0.1 points; the limit is 1 point."
    )


def test_a_drop_under_the_limit_by_its_value_alone_is_not_established(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("a", test=(0.008, 0.005))
    claim = board.claim()
    assert (claim.choice.verdict, claim.established) == ("MEETS", False)
    assert "Not established: on the test split the drop is 0.8 points [0.3, 1.3]" in claim.choice.explanation


def test_with_a_confidence_that_is_no_hold(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("a", test=(0.008, 0.005))
    for made in board.attempts:
        board.measurements["a"] = replace(
            board.measurements["a"], accuracy=replace(made.accuracy, drop_bound=0.002)
        )
    claim = board.claim(replace(LIMIT, confidence=0.95))
    assert (claim.choice.verdict, claim.choice.nearest, claim.established) == ("MISSES", "a", None)
    assert "high end of its 95 % interval" in claim.choice.explanation


def test_the_float_original_is_the_answer_when_what_led_fails_on_test(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("pruned", 1.0, -0.001, test=(0.03, 0.01))
    board.has("float", 1.9, 0.0, variant="original", test=(0.0, 0.05))
    claim = board.claim()
    assert (claim.choice.verdict, claim.choice.winner, claim.established) == ("MEETS", "float", True)
    assert claim.choice.reasons["pruned"].startswith(
        "on the test split less accurate than the budget: drop 3 points"
    )
    assert "tried before it: pruned: on the test split" in claim.choice.explanation
    assert "the unchanged network in float, whose drop is zero by definition" in claim.choice.explanation


@pytest.mark.parametrize(("half", "winner"), [(0.003, "second"), (0.006, None)])
def test_a_retry_must_be_established(tmp_path: Path, half: float, winner: str | None) -> None:
    board = Board(tmp_path)
    board.has("first", test=(0.011, 0.001))
    board.has("second", 1.5, 0.0, test=(0.001, half))
    claim = board.claim()
    assert (claim.choice.winner, claim.established) == (winner, winner and True)
    if winner is None:
        assert "high end of its 98.33 % interval" in claim.choice.reasons["second"]
        assert claim.accuracy is not None
        assert claim.accuracy.drop.value == 0.011  # the nearest is the first that was tried


def test_a_winner_too_slow_on_its_own_gives_way_to_the_next_and_spends_no_claim(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("lucky", 1.9, 0.0, fresh_ms=2.02)
    board.has("sound", 1.5, 0.004, test=(0.008, 0.005))
    claim = board.claim()
    assert (claim.choice.winner, claim.established) == ("sound", False)  # still the first on the test split
    assert board.looked == ["time lucky", "time sound", "test sound"]
    assert claim.choice.reasons["lucky"].startswith(
        "timed once more, on its own: slower than the budget: p90 2.02"
    )
    assert claim.confirmed is not None
    assert claim.confirmed.candidate == "sound"


def test_a_winner_that_dies_when_timed_alone_gives_way_too(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("dies", 1.5, fresh_ms=-1.0)
    board.has("lives", 1.9, 0.004)
    claim = board.claim()
    assert claim.choice.winner == "lives"
    assert claim.choice.reasons["dies"] == "failed when it was timed on its own: ended by SIGKILL"


def test_what_is_tried_is_bounded_and_the_unchanged_network_comes_on_top(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for place in range(TRIES + 2):
        board.has(f"c{place}", 1.0 + place / 10, -0.01 + place / 1000, fresh_ms=2.5)
    board.has("float", 1.9, 0.0, variant="original")
    claim = board.claim()
    assert claim.choice.winner == "float"
    assert board.looked == [*(f"time c{place}" for place in range(TRIES)), "time float", "test float"]
    assert (
        claim.choice.reasons[f"c{TRIES}"] == "meets on validation; not tried, since 4 before it did not hold"
    )


def test_when_nothing_holds_it_is_a_miss_and_the_first_tried_is_nearest(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("a", 1.9, 0.0, fresh_ms=2.1)
    board.has("b", 1.5, 0.004, fresh_ms=2.2)
    board.has("far", 9.0, 0.1)
    claim = board.claim()
    assert (claim.choice.verdict, claim.choice.nearest, claim.established) == ("MISSES", "a", None)
    assert claim.confirmed is not None
    assert claim.confirmed.latency is not None
    assert claim.confirmed.latency.p90.value == 2.1
    assert claim.choice.explanation.startswith(
        "No candidate that met the budget at first holds it when looked at again: a: timed once more, on its own"
    )


def test_without_a_limit_on_latency_nothing_is_timed_again(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("a")
    claim = board.claim(Budget(max_drop=0.01, fastest=True))
    assert (claim.choice.winner, claim.confirmed, board.looked) == ("a", None, ["test a"])


def test_without_a_limit_on_the_drop_there_is_nothing_to_establish(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.has("a", test=(0.5, 0.1))
    claim = board.claim(Budget(max_latency_ms=2.0, max_drop=None))
    assert (claim.choice.winner, claim.established) == ("a", None)
