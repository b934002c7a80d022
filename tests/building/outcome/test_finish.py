"""The claim: measured once on the test split, and what it may still change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.building.board import Board
from edgekit.building.candidates.timing import Timer, time_alone, time_attempts
from edgekit.building.measuring import Evaluator
from edgekit.building.outcome.assemble import candidate_results
from edgekit.building.outcome.finish import claimed, make_folder
from edgekit.building.samples import SplitFiles
from edgekit.building.values import Outcome
from edgekit.errors import OutputError
from edgekit.hardware import find_target
from edgekit.progress import SilentReporter
from edgekit.testing.onnx_networks import as_variant, residual_network
from edgekit.types import Audit, Budget, Choice, Measurement, Signature
from tests.building.parts import (
    MACHINE,
    attempt,
    bench,
    count_entries,
    measurement,
    opened_cache,
    split_files,
)


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
        claim = claimed(
            an_outcome(tmp_path, choice),
            Board(find_target("raspberry-pi-4"), MACHINE, absent),
            Budget(max_drop=0.01),
            tmp_path / "bundle",
            Evaluator(cache, bench(tmp_path / "board"), "top1"),
            Timer(cache, bench(tmp_path / "board"), SilentReporter(), 0),
            split_files(tmp_path),
            test_for,
            lambda refuted: choice,
            SilentReporter(),
        )
    assert claim.choice.verdict == verdict
    assert len(read) == int(has_claim)
    assert (claim.accuracy is not None and claim.accuracy.split == "test") == has_claim
    assert claim.confirmed is None  # no latency is limited


def test_the_winner_is_timed_in_a_run_of_its_own_and_a_rerun_finds_it(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"a network")
    made = attempt("a", folder=tmp_path)
    samples = split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        timer = Timer(cache, bench(tmp_path / "board"), SilentReporter(), 0)
        chosen_by, _ = time_attempts(timer, [made], samples)
        before = count_entries(cache)
        first = time_alone(timer, samples, made)
        assert count_entries(cache) == before + 1
        assert time_alone(timer, samples, made) == first
        assert count_entries(cache) == before + 1
    assert isinstance(first, Measurement)
    assert first.latency is not None
    assert set(chosen_by) == {"a"}


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
