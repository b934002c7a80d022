"""Metrics of class numbers that are no mean of scores, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from edgekit.errors import DataError
from edgekit.measure import find_metric
from edgekit.measure.rates import balanced_accuracy, macro_f1, roc_auc

seeds = st.integers(0, 2**32 - 1)


def made_up(seed: int, count: int = 40, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties [count, classes], and labels [count] of which some classes may be absent."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    scores = rng.integers(-3, 4, (count, classes)).astype(np.float32)
    scores[np.arange(count), labels] += rng.integers(0, 3, count)
    return scores, labels


@given(seeds)
@settings(deadline=None)
def test_balanced_accuracy_is_scikit_learns(seed: int) -> None:
    scores, labels = made_up(seed)
    answers = np.where(np.isin(scores.argmax(axis=1), labels), scores.argmax(axis=1), labels.max())
    assume((answers == scores.argmax(axis=1)).all())  # theirs warns of an answer that no label has
    own = balanced_accuracy({"s": scores}, labels).mean()
    assert own == pytest.approx(theirs.balanced_accuracy_score(labels, answers))


@given(seeds)
@settings(deadline=None)
def test_macro_f1_is_scikit_learns_over_the_classes_in_the_labels(seed: int) -> None:
    scores, labels = made_up(seed)
    wanted = theirs.f1_score(
        labels, scores.argmax(axis=1), labels=np.unique(labels), average="macro", zero_division=0
    )
    assert macro_f1({"s": scores}, labels).mean() == pytest.approx(wanted)


@given(seeds)
@settings(deadline=None)
def test_roc_auc_of_several_classes_is_each_against_all_others(seed: int) -> None:
    scores, labels = made_up(seed)
    columns = [theirs.roc_auc_score(labels == number, scores[:, number]) for number in np.unique(labels)]
    assert roc_auc({"s": scores}, labels).mean() == pytest.approx(np.mean(columns))


@given(seeds)
@settings(deadline=None)
def test_roc_auc_of_two_classes_and_of_single_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (30, 3))
    assume((labels.min(axis=0) < labels.max(axis=0)).all())
    scores = np.round(rng.normal(size=(30, 3)) + labels, 1)
    wanted = theirs.roc_auc_score(labels, scores, average="macro")
    assert roc_auc({"s": scores}, labels).mean() == pytest.approx(wanted)
    pair = np.stack([np.zeros(30), scores[:, 0]], axis=1)
    wanted = theirs.roc_auc_score(labels[:, 0], scores[:, 0])
    assert roc_auc({"s": pair}, labels[:, 0]).mean() == pytest.approx(wanted)
    assert roc_auc({"s": scores[:, :1]}, labels[:, 0]).mean() == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "roc_auc"])
def test_the_spread_of_the_scores_is_the_metrics_own_uncertainty(name: str) -> None:
    """Against the spread of the metric over samples drawn anew."""
    metric = find_metric(name)
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        labels = rng.choice(3, count, p=[0.6, 0.3, 0.1])
        scores = rng.normal(size=(count, 3)) + 1.2 * np.eye(3)[labels]
        return {"s": scores}, labels

    values = [metric(*draw(400)).mean() for _ in range(300)]
    told = np.mean([metric(*draw(400)).std(ddof=1) / 20 for _ in range(30)])
    assert told == pytest.approx(np.std(values), rel=0.2)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "roc_auc"])
@pytest.mark.parametrize(
    ("labels", "shape", "said"),
    [
        (np.zeros((4, 2, 2), np.int64), (4, 3), r"labels int64 \[2, 2\].*allowed: for"),
        (np.array([0, 1, 2, 7]), (4, 3), "label 7; allowed: 0 to 2"),
        (np.array([0, -1, 2, 1]), (4, 3), "label -1"),
    ],
)
def test_labels_that_do_not_fit_are_told(
    name: str, labels: np.ndarray, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        find_metric(name)({"s": np.ones(shape)}, labels)


def test_the_area_of_one_class_says_nothing() -> None:
    with pytest.raises(DataError, match="the same for every sample"):
        roc_auc({"s": np.ones((4, 3))}, np.zeros(4, np.int64))


def test_an_answer_that_is_no_number_is_never_right() -> None:
    scores = np.array([[np.nan, 9.0], [0.0, 1.0], [1.0, 0.0]])
    labels = np.array([1, 1, 0])
    assert balanced_accuracy({"s": scores}, labels).mean() == pytest.approx(0.75)
    assert macro_f1({"s": scores}, labels).mean() == pytest.approx((2 / 3 + 1) / 2)


def test_names_of_other_libraries_lead_to_ours() -> None:
    with pytest.raises(DataError, match="did you mean roc_auc"):
        find_metric("auroc")
    with pytest.raises(DataError, match="did you mean macro_f1"):
        find_metric("f1")
