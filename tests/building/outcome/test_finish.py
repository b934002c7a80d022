"""The claim: measured once on the test split, and what it may still change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.building.measuring import Evaluator
from edgekit.building.outcome.assemble import candidate_results
from edgekit.building.outcome.finish import claimed, make_folder, with_claim
from edgekit.building.samples import SplitFiles
from edgekit.building.setup import Board
from edgekit.building.values import Outcome
from edgekit.errors import OutputError
from edgekit.hardware import find_target
from edgekit.progress import SilentReporter
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Accuracy, Audit, Choice, Estimate, Signature
from tests.building.parts import MACHINE, attempt, bench, measurement, opened_cache, split_files


def claim(drop: float) -> Accuracy:
    return Accuracy("top1", "test", 50, Estimate(0.9, 0.8, 1.0), Estimate(drop, drop - 0.01, drop + 0.01))


def test_a_claim_within_the_limit_leaves_the_choice() -> None:
    choice = Choice("MEETS", "a", None, "so.", reasons={"a": "the fastest"})
    assert with_claim(choice, claim(0.02), 0.02) is choice
    assert with_claim(choice, claim(0.5), None) is choice


def test_a_claim_over_the_limit_is_a_miss_and_nothing_else_is_chosen_by_that_split() -> None:
    choice = Choice("MEETS", "a", None, "so.", reasons={"a": "the fastest", "b": "slower"})
    missed = with_claim(choice, claim(0.03), 0.02)
    assert (missed.verdict, missed.winner, missed.nearest) == ("MISSES", None, "a")
    assert "on the test split its accuracy drop is 3.00 points [2.00, 4.00]" in missed.explanation
    assert missed.reasons == {"a": missed.explanation, "b": "slower"}


def an_outcome(tmp_path: Path, choice: Choice) -> Outcome:
    (tmp_path / "m.onnx").write_bytes(b"a network")
    original = as_variant(residual_network(tmp_path / "net.onnx"))
    made = attempt("a", folder=tmp_path)
    return Outcome(
        original=original,
        networks={"original": original},
        reference=made.artifact,
        attempts=(made, attempt("unmeasured", folder=tmp_path)),
        measurements={"a": replace(measurement("a"), accuracy=made.accuracy)},
        choice=choice,
        failures=(),
        rejections=(),
        variants=(),
    )


@pytest.mark.parametrize(
    ("choice", "absent", "verdict", "has_claim"),
    [
        (Choice("MEETS", "a", None, "so."), (), "MEETS", True),
        (Choice("MISSES", None, "a", "so."), (), "MISSES", False),
        (Choice("MISSES", None, "a", "so."), ("elsewhere",), "PROVISIONAL", True),
        (Choice("INFEASIBLE", None, None, "so."), (), "INFEASIBLE", False),
    ],
)
def test_the_test_split_is_read_for_a_winner_and_for_what_is_expected_of_an_absent_board(
    tmp_path: Path, choice: Choice, absent: tuple[str, ...], verdict: str, has_claim: bool
) -> None:
    read = []

    def test_for(signature: Signature) -> SplitFiles:
        read.append(signature)
        return replace(split_files(tmp_path), split="test")

    with opened_cache(tmp_path / "store") as cache:
        outcome, accuracy = claimed(
            an_outcome(tmp_path, choice),
            Board(find_target("raspberry-pi-4"), MACHINE, absent),
            0.01,
            tmp_path / "bundle",
            Evaluator(cache, bench(tmp_path / "board"), "top1"),
            test_for,
            SilentReporter(),
        )
    assert outcome.choice.verdict == verdict
    assert len(read) == int(has_claim)
    assert (accuracy is not None and accuracy.split == "test") == has_claim


def test_every_candidate_that_was_measured_has_a_row_and_an_estimate_shows_no_kernels(tmp_path: Path) -> None:
    outcome = an_outcome(tmp_path, Choice("MISSES", None, "a", "so.", reasons={"a": "too slow"}))
    audited = replace(outcome.attempts[0].artifact, audit=Audit("int8", notes=("all layers",)))
    outcome = replace(outcome, attempts=(replace(outcome.attempts[0], artifact=audited), outcome.attempts[1]))
    (row,) = candidate_results(outcome, "p99")
    assert (row.id, row.why, row.ran_as, row.notes) == ("a", "too slow", "int8", ("all layers",))
    assert row.latency_ms is not None
    assert row.latency_ms.percentile == "p99"
    estimated = {"a": replace(outcome.measurements["a"], origin="estimated")}
    (row,) = candidate_results(replace(outcome, measurements=estimated), "p90")
    assert (row.ran_as, row.notes) == ("", ("On this machine, not the board: all layers",))


def test_an_output_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        make_folder(tmp_path / "taken" / "out")
