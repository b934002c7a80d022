"""Numbers that make no sense are refused before anything is looked up, from the command line and from Python."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import edgekit
from edgekit.building.numbers import refuse_bad_numbers
from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.cli.bench import bench
from edgekit.cli.build import build
from edgekit.cli.compare import compare
from edgekit.errors import BudgetError, DataError, UserError
from edgekit.types import Budget, Preprocess

REQUEST = BuildRequest("generic-cpu", "net.onnx", "digits")
NONSENSE = [math.nan, math.inf, -math.inf, -1, True, "5", "many", [1], 10**400]


def with_number(part: str, name: str, value: object) -> BuildRequest:
    """The request with one number of its budget, training, preprocessing or own."""
    change: dict[str, Any] = {name: value}
    if part == "request":
        return replace(REQUEST, **change)
    return replace(REQUEST, **{part: replace(getattr(REQUEST, part), **change)})


PARTS: dict[str, tuple[type[UserError], tuple[str, ...]]] = {
    "budget": (BudgetError, ("max_latency_ms", "max_drop", "max_size_bytes", "max_memory_bytes")),
    "train": (
        UserError,
        (
            "epochs",
            "step_epochs",
            "learning_rate",
            "qat_epochs",
            "batch_size",
            "temperature",
            "alpha",
            "step_ratio",
        ),
    ),
    "request": (UserError, ("threads", "calibration_samples", "seed", "time_limit_s", "timed_s")),
    "preprocess": (DataError, ("resize", "crop")),
}
NUMBERS = [(error, part, name) for part, (error, names) in PARTS.items() for name in names]


@pytest.mark.parametrize(("error", "part", "name"), NUMBERS)
@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: str(value)[:8])
def test_nonsense_is_refused_in_one_line_with_what_is_allowed(
    error: type[UserError], part: str, name: str, value: object
) -> None:
    with pytest.raises(error, match=f"{name} is .*; allowed: ") as caught:
        refuse_bad_numbers(with_number(part, name, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("error", "part", "name"), [row for row in NUMBERS if row[2] not in ("max_drop", "alpha", "seed")]
)
def test_nothing_is_no_number_of_these(error: type[UserError], part: str, name: str) -> None:
    with pytest.raises(error, match=f"{name} is 0; allowed: "):
        refuse_bad_numbers(with_number(part, name, 0))


@pytest.mark.parametrize(
    "change", [{"scale": 0.0}, {"scale": math.nan}, {"std": (1.0, 0.0)}, {"mean": (math.inf,)}]
)
def test_preprocessing_that_makes_no_numbers_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(change))} is .*; allowed: .*finite"):
        refuse_bad_numbers(replace(REQUEST, preprocess=Preprocess(**change)))


def test_what_makes_sense_passes_numpy_s_numbers_too() -> None:
    refuse_bad_numbers(REQUEST)
    refuse_bad_numbers(
        replace(
            REQUEST,
            budget=Budget(np.float32(2.0), False, "p50", 0.0, np.int64(1), 10**12),  # type: ignore[arg-type]
            train=TrainOptions(epochs=0.25, learning_rate=1e-5, alpha=0, temperature=1),
            preprocess=Preprocess(scale=-1.0, mean=(0.0,), std=(-0.5,), resize=1, crop=1),
            seed=2**32 - 1,
            time_limit_s=1e9,
        )
    )


def test_python_is_told_before_the_target_is_looked_up(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="max_latency_ms is nan; allowed: a number above 0"):
        edgekit.build(
            target="none", model="none", data="none", max_latency_ms=math.nan, store=tmp_path / "store"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epochs", "nan"],
        ["--epochs", "0"],
        ["--learning-rate", "inf"],
        ["--temperature", "nan"],
        ["--temperature", "-1"],
        ["--alpha", "nan"],
        ["--prune-step", "0%"],
        ["--seed", "-1"],
        ["--seed", "5000000000"],
        ["--threads", "100000"],
        ["--max-latency", "nan"],
        ["--max-size", "inf"],
        ["--max-drop", "nan"],
        ["--time-limit", "0"],
        ["--scale", "nan"],
    ],
    ids="=".join,
)
def test_the_command_line_refuses_them_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = ["--target", "generic-cpu", "--model", "net.onnx", "--data", "digits"]
    done = CliRunner().invoke(build, [*needed, *arguments])
    assert isinstance(done.exception, UserError) or done.exit_code == 2
    told = str(done.exception) if isinstance(done.exception, UserError) else done.output
    assert "net.onnx" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", ["-1", "5000000000"])
def test_a_seed_that_chance_cannot_begin_with_is_refused(seed: str) -> None:
    for command, files in ((bench, ["a.onnx"]), (compare, ["a.onnx", "b.onnx"])):
        done = CliRunner().invoke(command, [*files, "--seed", seed])
        assert done.exit_code == 2
        assert "4294967295" in done.output
