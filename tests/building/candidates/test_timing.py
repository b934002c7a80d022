"""Timing: one run for all, repeated once where the machine was not quiet, kept by all that it depends on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.building.candidates import timing
from edgekit.building.candidates.timing import (
    Timer,
    calmest_run,
    time_attempts,
    widest_relative_interval,
)
from edgekit.building.time_limit import TimeLimit
from edgekit.building.values import Attempt
from edgekit.devices import Measured
from edgekit.progress import SilentReporter
from edgekit.types import Failure, Measurement, Signature
from tests.building.parts import attempt, bench, count_entries, measurement, opened_cache, split_files

Run = Mapping[str, Measured | Failure]


def run_of(width_ms: float, *, steady: bool = False) -> Run:
    """One candidate at 1 ms, its interval so wide."""
    row = Measured(measurement("a", 1.0, width_ms=width_ms, steady=steady), Signature((), ()))
    return {"a": row, "b": Failure("b", "load", "broken")}


def repeated(*runs: Run) -> tuple[Run, int, int]:
    """The run that is kept, how many were made, how often a repetition was told."""
    left, told = list(runs), list[int]()

    def may_repeat() -> bool:
        told.append(1)
        return True

    kept, whole = calmest_run(lambda: left.pop(0), may_repeat)
    assert whole
    return kept, len(runs) - len(left), len(told)


def test_a_quiet_run_is_not_repeated() -> None:
    quiet = run_of(0.01)
    assert repeated(quiet, run_of(0.0)) == (quiet, 1, 0)


@pytest.mark.parametrize(("first", "second", "kept"), [(0.4, 0.2, 1), (0.2, 0.4, 0)])
def test_a_noisy_run_is_repeated_once_and_the_calmer_is_kept(first: float, second: float, kept: int) -> None:
    runs = run_of(first), run_of(second)
    assert repeated(*runs, run_of(0.0)) == (runs[kept], 2, 1)


def test_a_noisy_run_that_may_not_be_repeated_is_given_but_is_not_whole() -> None:
    noisy, quiet = run_of(0.4), run_of(0.01)
    assert calmest_run(lambda: noisy, lambda: False) == (noisy, False)
    assert calmest_run(lambda: quiet, lambda: False) == (quiet, True)


def test_noise_is_the_widest_interval_among_those_that_were_not_steady() -> None:
    assert widest_relative_interval(run_of(0.4)) == pytest.approx(0.4)
    assert widest_relative_interval(run_of(0.4, steady=True)) == 0.0
    assert widest_relative_interval({"b": Failure("b", "load", "broken")}) == 0.0


@pytest.fixture
def attempts(tmp_path: Path) -> tuple[Attempt, Attempt]:
    (tmp_path / "m.onnx").write_bytes(b"a network")
    return attempt("fast", drop=0.02, folder=tmp_path), attempt("slow", folder=tmp_path)


def test_measurements_carry_their_accuracy_and_failures_are_apart(
    tmp_path: Path, attempts: tuple[Attempt, Attempt]
) -> None:
    with opened_cache(tmp_path / "store") as cache:
        device = bench(tmp_path / "board", {"fast": 0.5}, failing=("slow",))
        timer = Timer(cache, device, SilentReporter(), 0)
        measurements, failures = time_attempts(timer, attempts, split_files(tmp_path))
    assert measurements["fast"].accuracy == attempts[0].accuracy
    assert measurements["fast"].latency is not None
    assert [failure.candidate for failure in failures] == ["slow"]


@pytest.mark.parametrize("failing", [("slow",), ("fast",), ("fast", "slow")])
def test_a_run_in_which_a_candidate_failed_is_not_kept(
    tmp_path: Path, attempts: tuple[Attempt, Attempt], failing: tuple[str, ...]
) -> None:
    artifacts, samples = [attempt.artifact for attempt in attempts], split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        killed = bench(tmp_path / "board", {"fast": 0.5}, failing=failing)
        rows = Timer(cache, killed, SilentReporter(), 0).time(artifacts, samples, 0.5)
        assert [name for name, row in rows.items() if isinstance(row, Failure)] == list(failing)
        assert count_entries(cache) == 0
        well = bench(tmp_path / "board", {"fast": 0.5})
        again = Timer(cache, well, SilentReporter(), 0).time(artifacts, samples, 0.5)
        assert all(isinstance(row, Measurement) for row in again.values())
        assert count_entries(cache) == 1


def test_a_noisy_run_that_the_time_limit_kept_from_its_repetition_is_not_stored(
    tmp_path: Path, attempts: tuple[Attempt, Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "NOISE_LIMIT", -1.0)  # every run is noisy
    artifacts, samples = [attempts[0].artifact], split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        device = bench(tmp_path / "board", {"fast": 0.5})
        over, open_ = TimeLimit(60.0, time.monotonic() - 1.0), TimeLimit(60.0, time.monotonic() + 60.0)
        rows = Timer(cache, device, SilentReporter(), 0, over).time(artifacts, samples, 0.5)
        assert isinstance(rows["fast"], Measurement)
        assert count_entries(cache) == 0
        Timer(cache, device, SilentReporter(), 0, open_).time(artifacts, samples, 0.5)
        assert count_entries(cache) == 1


def test_a_stored_run_is_read_under_the_names_of_this_run(
    tmp_path: Path, attempts: tuple[Attempt, Attempt]
) -> None:
    samples = split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        timer = Timer(cache, bench(tmp_path / "board", {"fast": 0.5}), SilentReporter(), 0)
        first = timer.time([attempts[0].artifact], samples, 0.5)["fast"]
        again = timer.time([replace(attempts[0].artifact, candidate="other")], samples, 0.5)["other"]
        assert count_entries(cache) == 1
    assert isinstance(first, Measurement)
    assert again == replace(first, candidate="other")


def test_seconds_seed_samples_and_company_are_in_the_key(
    tmp_path: Path, attempts: tuple[Attempt, Attempt]
) -> None:
    samples = split_files(tmp_path)
    artifacts = [attempt.artifact for attempt in attempts]
    with opened_cache(tmp_path / "store") as cache:
        timer = Timer(cache, bench(tmp_path / "board"), SilentReporter(), 0)
        timer.time(artifacts, samples, 0.5)
        timer.time(artifacts, samples, 0.6)
        replace(timer, seed=1).time(artifacts, samples, 0.5)
        timer.time(artifacts, replace(samples, digest="of others"), 0.5)
        timer.time(artifacts[:1], samples, 0.5)
        assert count_entries(cache) == 5


def test_intervals_by_another_method_are_not_read(
    tmp_path: Path, attempts: tuple[Attempt, Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = split_files(tmp_path)
    with opened_cache(tmp_path / "store") as cache:
        timer = Timer(cache, bench(tmp_path / "board"), SilentReporter(), 0)
        timer.time([attempts[0].artifact], samples, 0.5)
        monkeypatch.setattr(timing, "METHOD", "another")
        timer.time([attempts[0].artifact], samples, 0.5)
        assert count_entries(cache) == 2
