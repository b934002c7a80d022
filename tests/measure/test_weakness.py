"""An original that only guesses is told from one that does its task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.measure import find_weakness, little_told

CLASSES = 12
LABELS = np.arange(240) % CLASSES


def answers(classes: np.ndarray, count: int = CLASSES) -> dict[str, np.ndarray]:
    """Outputs that put these classes first."""
    return {"scores": np.eye(count, dtype=np.float32)[classes]}


def chance(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CLASSES, len(LABELS))


def right_for(share: float) -> np.ndarray:
    keep = np.random.default_rng(1).random(len(LABELS)) < share
    return np.where(keep, LABELS, chance())


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("seed", range(5))
def test_a_guess_is_told_whatever_its_luck(metric: str, seed: int) -> None:
    outputs = {"scores": np.random.default_rng(seed).standard_normal((len(LABELS), CLASSES))}
    assert "no better, by more than noise" in find_weakness(outputs, LABELS, metric)


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_a_network_that_does_its_task_passes_however_badly(share: float) -> None:
    assert find_weakness(answers(right_for(share)), LABELS, "top1") == ""


def test_the_commonest_class_is_what_has_to_be_beaten() -> None:
    labels = np.where(np.arange(200) % 10 == 0, 1, 0)
    constant = np.zeros(200, np.int64)
    weakness = find_weakness(answers(constant, 2), labels, "top1")
    assert "90.00 % of 200 samples" in weakness
    assert "it answers class 0 to 100.00 % of them" in weakness
    better = np.where(np.arange(200) % 20 == 0, 1, 0)
    assert find_weakness(answers(better, 2), labels, "top1") == ""


def test_few_samples_that_are_all_right_pass() -> None:
    labels = np.array([0] * 38 + [1] * 2)
    assert find_weakness(answers(labels, 2), labels, "top1") == ""


def test_classes_in_another_order_are_told() -> None:
    weakness = find_weakness(answers((right_for(0.9) + 1) % CLASSES), LABELS, "top1")
    assert "with its classes in another order it would be right for 9" in weakness


def test_top5_of_five_classes_says_nothing() -> None:
    labels = np.arange(100) % 5
    assert find_weakness(answers(labels, 5), labels, "top5") == "top5 says nothing of labels of 5 classes"


def own(folder: Path, body: str) -> str:
    (folder / "own.py").write_text(f"import numpy as np\n\n\ndef score(outputs, labels):\n    {body}\n")
    return f"{folder / 'own.py'}:score"


RIGHT = "return (outputs['scores'].argmax(axis=1) == labels).astype(float)"


@pytest.mark.parametrize("value", ["0.0", "0.37"])
def test_a_metric_with_one_value_for_all_is_told(tmp_path: Path, value: str) -> None:
    metric = own(tmp_path, f"return np.full(len(labels), {value})")
    weakness = find_weakness(answers(LABELS), LABELS, metric)
    assert f"is {float(value):g} for every one of 240 samples" in weakness


def test_a_metric_of_the_users_passes_where_the_labels_matter(tmp_path: Path) -> None:
    metric = own(tmp_path, RIGHT)
    assert find_weakness(answers(right_for(0.4)), LABELS, metric) == ""
    assert find_weakness(answers(LABELS), LABELS, metric) == ""
    assert "with the labels of other samples" in find_weakness(answers(chance()), LABELS, metric)


@pytest.mark.parametrize("perfect", ["1.0", "0.0", "100.0", "-7.0"])
@pytest.mark.parametrize("count", [4, 240])
def test_a_perfect_network_has_one_value_too_and_passes(tmp_path: Path, perfect: str, count: int) -> None:
    labels = LABELS[:count] % 2
    metric = own(tmp_path, f"return {perfect} - (outputs['scores'].argmax(axis=1) != labels)")
    assert find_weakness(answers(labels, 2), labels, metric) == ""
    always_wrong = find_weakness(answers(1 - labels, 2), labels, metric)
    assert f"is {float(perfect) - 1:g} for every one of {count} samples, and no worse with" in always_wrong


@pytest.mark.parametrize("metric", ["r2", "rmse", "mae", "miou"])
def test_few_targets_that_are_all_met_pass(metric: str) -> None:
    labels = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    if metric == "miou":
        outputs = np.eye(2)[labels.astype(int)].transpose(0, 2, 1)
        assert find_weakness({"map": outputs}, labels.astype(np.int64), metric) == ""
    else:
        assert find_weakness({"values": labels.copy()}, labels, metric) == ""


def test_a_perfect_network_on_one_number_for_all_passes(tmp_path: Path) -> None:
    metric = own(tmp_path, "return (outputs['scores'].argmax(axis=1) == labels).mean()")
    assert find_weakness(answers(LABELS), LABELS, metric) == ""


def test_a_metric_that_is_1_whatever_the_labels_are_is_told(tmp_path: Path) -> None:
    metric = own(tmp_path, "return np.ones(len(labels))")
    assert "with the labels of other samples (1)" in find_weakness(answers(LABELS), LABELS, metric)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_nan_is_told_with_its_sample(labels: np.ndarray | None) -> None:
    outputs = answers(LABELS)
    outputs["scores"][17, 3] = np.nan
    assert find_weakness(outputs, labels, "top1") == "output scores is NaN for sample 17"


def test_without_labels_there_is_nothing_to_judge() -> None:
    assert find_weakness(answers(np.zeros(240, np.int64)), None, None) == ""


@pytest.mark.parametrize(("share", "is_little"), [(0.2, True), (0.4, True), (0.7, False), (1.0, False)])
@pytest.mark.parametrize("metric", [None, "top1"])
def test_a_score_less_than_half_way_from_a_guess_is_little(
    share: float, is_little: bool, metric: str | None
) -> None:
    told = little_told(answers(right_for(share)), LABELS, metric)
    assert bool(told) is is_little
    assert told.startswith("top1 is " if is_little else "")


def test_of_two_classes_half_is_what_a_guess_has() -> None:
    labels = np.arange(200) % 2
    for wrong, is_little in ((3, True), (10, False)):  # every third, every tenth
        said = np.where(np.arange(200) % wrong == 0, 1 - labels, labels)
        assert bool(little_told(answers(said, 2), labels, "top1")) is is_little


def test_no_labels_and_metrics_of_another_range_are_not_judged() -> None:
    assert little_told(answers(chance()), None, None) == ""
    assert little_told(answers(chance()), LABELS, "rmse") == ""
    assert little_told(answers(chance()), LABELS, "mine.py:score") == ""
