"""Accuracy, the paired drop, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.measure import compare_scores, estimate_drop, estimate_mean, evaluate
from edgekit.measure.accuracy import skewed_accuracy

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=200)


def columns(rows: list[tuple[int, int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = np.asarray(rows, dtype=np.float64)
    return table[:, 0], table[:, 1]


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_estimates_lie_in_their_intervals_and_those_in_bounds(rows: list[tuple[int, int]]) -> None:
    accuracy = compare_scores(*columns(rows), metric="top1", split="test")
    assert 0.0 <= accuracy.value.low <= accuracy.value.value <= accuracy.value.high <= 1.0
    assert -1.0 <= accuracy.drop.low <= accuracy.drop.value <= accuracy.drop.high <= 1.0


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_exchanging_the_networks_mirrors_the_drop(rows: list[tuple[int, int]]) -> None:
    scores, reference = columns(rows)
    forth, back = estimate_drop(scores, reference), estimate_drop(reference, scores)
    assert forth.value == -back.value
    assert forth.low == pytest.approx(-back.high, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(pairs, st.randoms())
def test_the_order_of_samples_does_not_matter(rows: list[tuple[int, int]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert estimate_drop(*columns(rows)) == estimate_drop(*columns(shuffled))


@given(st.lists(st.integers(0, 1), min_size=1, max_size=100))
def test_identical_answers_drop_nothing(hits: list[int]) -> None:
    scores = np.asarray(hits, dtype=np.float64)
    drop = estimate_drop(scores, scores)
    assert drop.value == 0.0
    n, z = len(hits), 1.959963984540054
    # Tango's interval has this closed form when no pair is discordant.
    assert drop.high == pytest.approx(z**2 / (n + z**2), abs=1e-9)
    assert drop.low == pytest.approx(-drop.high, abs=1e-9)


def test_the_drops_interval_is_where_the_score_statistic_reaches_the_normal_quantile() -> None:
    # 21 pairs, 1 and 7 discordant: the airway example of Fagerland, Lydersen and Laake (2014): Tango's
    # interval of p1 - p2 is (-0.517, -0.026).
    reference = np.array([1.0] + [0.0] * 7 + [1.0] + [0.0] * 12)
    scores = np.array([0.0] + [1.0] * 7 + [1.0] + [0.0] * 12)
    drop = estimate_drop(scores, reference)
    assert drop.value == pytest.approx(-6 / 21)
    assert (round(drop.low, 3), round(drop.high, 3)) == (-0.517, -0.026)


def test_pairing_is_narrower_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(0)
    reference = (rng.random(2000) < 0.9).astype(np.float64)
    scores = np.where(rng.random(2000) < 0.01, 1 - reference, reference)
    drop, value = estimate_drop(scores, reference), estimate_mean(scores)
    assert drop.high - drop.low < 0.5 * (value.high - value.low)


def test_scores_that_are_no_hits_get_students_interval() -> None:
    estimate = estimate_mean(np.array([0.2, 0.4, 0.6]))
    assert estimate.value == pytest.approx(0.4)
    assert estimate.high - estimate.value == pytest.approx(4.302652729911275 * 0.2 / 3**0.5)


def test_wilsons_interval_of_8_in_10_is_the_published_one() -> None:
    estimate = estimate_mean(np.array([1.0] * 8 + [0.0] * 2))
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.4902, 0.9433)


@pytest.mark.parametrize(("scores", "reference"), [([], []), ([1.0], [1.0, 0.0])])
def test_scores_that_cannot_be_paired_are_refused(scores: list[float], reference: list[float]) -> None:
    with pytest.raises(DataError):
        estimate_drop(np.asarray(scores), np.asarray(reference))


def class_outputs(*winners: int) -> dict[str, NDArray[np.generic]]:
    return {"scores": np.eye(3, dtype=np.float32)[list(winners)]}


def test_labels_give_top1_and_its_drop() -> None:
    accuracy = evaluate(
        class_outputs(0, 1, 1, 2), class_outputs(0, 1, 2, 2), np.array([0, 1, 2, 2]), split="test"
    )
    assert (accuracy.metric, accuracy.samples, accuracy.split) == ("top1", 4, "test")
    assert (accuracy.value.value, accuracy.drop.value) == (0.75, 0.25)


def test_without_labels_class_scores_are_compared_by_agreement() -> None:
    accuracy = evaluate(class_outputs(0, 1, 1, 2), class_outputs(0, 1, 2, 2), None)
    assert accuracy.metric == "agreement"
    assert (accuracy.value.value, accuracy.drop.value) == (0.75, 0.25)


def test_without_labels_other_outputs_are_compared_part_by_part() -> None:
    boxes = {"boxes": np.random.default_rng(0).random((5, 7, 4)), "more": np.ones((5, 2, 3))}
    accuracy = evaluate(boxes, boxes, None)
    assert accuracy.metric == "r2"
    assert accuracy.value.value == pytest.approx(1.0)
    assert accuracy.drop.value == pytest.approx(0.0)


def test_outputs_of_other_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"\['other'\].*\['scores'\]"):
        evaluate({"other": np.ones((2, 3))}, class_outputs(0, 1), None)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[1, 3\], not \[2, 3\]"):
        evaluate(class_outputs(0), class_outputs(0, 1), None)


def test_a_metric_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match="needs labels"):
        evaluate(class_outputs(0), class_outputs(0), None, metric="top5")


# Intervals of skewed drops, and at other confidences


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_an_interval_holds_a_skewed_drop_at_20_samples(sigma: float) -> None:
    chance = np.random.default_rng(5)
    scale = 1e-6
    truth = scale * np.exp(sigma**2 / 2)
    scores = [1 - scale * chance.lognormal(0.0, sigma, 20) for _ in range(300)]
    made = [skewed_accuracy(row, "r2", "test", None).drop for row in scores]
    assert np.mean([drop.low <= truth <= drop.high for drop in made]) >= 0.93


def test_a_value_and_its_drop_without_labels_have_the_same_interval() -> None:
    chance = np.random.default_rng(0)
    reference = chance.normal(size=(30, 4, 3))
    outputs = reference + chance.lognormal(-5, 1, (30, 1, 1))
    accuracy = evaluate({"map": outputs}, {"map": reference}, None)
    assert accuracy.metric == "r2"
    assert accuracy.value.low == pytest.approx(1 - accuracy.drop.high)
    assert accuracy.value.high == pytest.approx(1 - accuracy.drop.low)


@pytest.mark.parametrize("binary", [True, False])
def test_more_confidence_is_a_higher_bound_and_95_percent_is_the_interval(binary: bool) -> None:
    chance = np.random.default_rng(3)
    reference = np.ones(60)
    scores = np.where(chance.random(60) < 0.1, 0.0, 1.0) if binary else 1 - 0.1 * chance.random(60)
    bounds = [
        compare_scores(scores, reference, metric="m", split="test", confidence=share).drop_bound
        for share in (0.5, 0.9, 0.95, 0.99)
    ]
    assert bounds == sorted(bounds)  # type: ignore[type-var]
    accuracy = compare_scores(scores, reference, metric="m", split="test")
    assert accuracy.drop_bound is None
    assert bounds[2] == accuracy.drop.high
