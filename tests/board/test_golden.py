"""Golden outputs are held against what comes out by one rule, wherever that is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.board import Model, entries
from edgekit.board.golden import deviation, largest_deviation, magnitude
from edgekit.board.manifest import read_manifest
from edgekit.board.tensorrt.engine import self_test
from edgekit.bundle import Golden, verify_bundle, write_bundle
from tests.bundles import SAMPLES, artifact_of, bundle_of, bundle_parts, network

GOLDEN = np.array([[1.0, -4.0], [2.0, 0.5]], np.float32)


def off(answer: NDArray[np.generic]) -> float:
    return deviation(answer, GOLDEN, magnitude(GOLDEN))


def test_it_is_relative_to_the_largest_golden_value() -> None:
    assert off(GOLDEN) == 0.0
    assert off(GOLDEN + np.float32(1.0)) == 0.25


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_matches(value: float) -> None:
    answer = GOLDEN.copy()
    answer[1, 1] = value
    assert off(answer) == np.inf
    assert deviation(GOLDEN, answer, magnitude(answer)) == np.inf


def test_another_shape_never_matches() -> None:
    assert off(GOLDEN[:1]) == np.inf
    assert off(GOLDEN.T[None]) == np.inf


def test_outputs_of_zeros_and_empty_ones_can_match() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert deviation(zeros, zeros, magnitude(zeros)) == 0.0
    empty = np.zeros((2, 0), np.float32)
    assert deviation(empty, empty, magnitude(empty)) == 0.0


def test_integers_are_compared_without_wrapping_around() -> None:
    golden, answer = np.array([[0, 200]], np.uint8), np.array([[1, 100]], np.uint8)
    assert deviation(answer, golden, magnitude(golden)) == 0.5


def test_the_worst_sample_of_all_outputs_counts() -> None:
    outputs = [GOLDEN, GOLDEN]
    answers = iter([[GOLDEN[:1], GOLDEN[:1]], [GOLDEN[1:], GOLDEN[1:] + np.float32(2.0)]])
    assert largest_deviation(lambda _: next(answers), [GOLDEN], outputs) == 0.5


def test_another_number_of_outputs_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 outputs came, 2 are golden"):
        largest_deviation(lambda arrays: arrays, [GOLDEN], [GOLDEN, GOLDEN])


def test_all_that_ask_get_the_same_answer(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    expected = network(SAMPLES) + np.linspace(0, 1e-3, 3, dtype=np.float32)
    parts = bundle_parts(artifact_of("onnxruntime", tmp_path / "artifact"))
    write_bundle(bundle, **{**parts, "golden": Golden((SAMPLES,), (expected,))})
    with Model(str(bundle)) as model:
        by_model = model.golden_deviation()
        outputs = np.concatenate([model.run([SAMPLES[index : index + 1]])[0] for index in range(4)])
        told = self_test(model._session, str(bundle / "golden.npz"), 1.0)
    np.save(tmp_path / "outputs.npy", outputs)
    by_settling, tolerance = entries.off_golden(
        str(bundle), read_manifest(str(bundle)), [str(tmp_path / "outputs.npy")]
    )
    assert 0 < by_model == by_settling == told["off"] <= tolerance == model.tolerance
    assert told["samples"] == 4


def test_a_bundle_is_verified_by_the_same_rule(tmp_path: Path) -> None:
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")
    with Model(str(bundle)) as model:
        assert verify_bundle(bundle).difference == model.golden_deviation()
