"""What judges which labels, and that each metric is the one it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.measure import METRICS, default_metric, estimate_mean, evaluate, find_scoring, find_weakness

RANDOM = np.random.default_rng(0)
TARGETS = RANDOM.standard_normal((200, 5)).astype(np.float32)
MAPS = RANDOM.integers(0, 3, (40, 6, 8)).astype(np.uint8)


def near(targets: np.ndarray, noise: float, seed: int = 1) -> dict[str, np.ndarray]:
    return {"out": targets + noise * np.random.default_rng(seed).standard_normal(targets.shape)}


def mostly(maps: np.ndarray, share: float, seed: int = 1) -> dict[str, np.ndarray]:
    """Scores [N, 3, H, W] that are right at `share` of the positions."""
    random = np.random.default_rng(seed)
    answers = np.where(random.random(maps.shape) < share, maps % 3, random.integers(0, 3, maps.shape))
    return {"out": np.moveaxis(np.eye(3, dtype=np.float32)[answers], -1, 1)}


@pytest.mark.parametrize(
    ("labels", "output", "name"),
    [
        (np.arange(4), (4, 10), "top1"),
        (np.arange(4), (4, 10, 1, 1), "top1"),
        (np.zeros((4, 6, 8), np.uint8), (4, 3, 6, 8), "miou"),
        (np.zeros((4, 1, 6, 8), np.int64), (4, 2, 6, 8), "miou"),
        (np.zeros((4, 9), np.int32), (4, 3, 9), "miou"),
        (np.zeros((4, 10), np.float32), (4, 10), "r2"),
        (np.arange(4) + 3, (4, 1), "r2"),
        (np.full((4, 2, 4), 17), (4, 2, 4), "r2"),
    ],
)
def test_the_labels_say_what_judges(labels: np.ndarray, output: tuple[int, ...], name: str) -> None:
    assert default_metric(labels, {"out": np.zeros(output, np.float32)}) == name


@pytest.mark.parametrize(
    ("labels", "output"),
    [
        (np.array([0, 1, 1, 0]), (4, 1)),  # two classes, or a value of 0 and 1
        (np.array([[0, 1, 1]] * 4), (4, 3)),  # several classes each
        (np.zeros((4, 7, 4), np.float32), (4, 10)),
    ],
)
def test_what_could_be_meant_in_two_ways_is_asked(labels: np.ndarray, output: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="is not known; give --metric") as caught:
        default_metric(labels, {"out": np.zeros(output, np.float32)})
    assert "\n" not in str(caught.value)


def test_the_scores_of_a_regression_average_to_its_metric() -> None:
    outputs = near(TARGETS, 0.5)
    errors = (outputs["out"] - TARGETS).astype(np.float64)
    spread = np.square(TARGETS - TARGETS.mean(axis=0)).sum()
    means = {name: METRICS[name](outputs, TARGETS).mean() for name in ("r2", "rmse", "mae")}
    assert means["r2"] == pytest.approx(1 - np.square(errors).sum() / spread)
    assert means["rmse"] == pytest.approx(-np.sqrt(np.square(errors).mean()))
    assert means["mae"] == pytest.approx(-np.abs(errors).mean())


def test_the_scores_of_maps_average_to_the_mean_iou_of_the_set() -> None:
    labels = MAPS.copy()
    labels[:, 0] = 255
    outputs = mostly(MAPS, 0.8)
    answers, wanted = outputs["out"].argmax(1)[:, 1:], labels[:, 1:]
    known = [
        ((answers == k) & (wanted == k)).sum() / ((answers == k) | (wanted == k)).sum() for k in range(3)
    ]
    assert METRICS["miou"](outputs, labels).mean() == pytest.approx(np.mean(known))
    assert METRICS["miou"](mostly(MAPS, 1.0), MAPS).tolist() == [1.0] * 40


def test_the_interval_of_a_ratio_is_that_of_repeated_data() -> None:
    """200 sets from one population: the standard error told by one set is their own spread."""
    told, values = [], []
    for seed in range(200):
        random = np.random.default_rng(seed)
        targets = random.standard_normal((100, 2))
        scores = METRICS["rmse"](near(targets, 0.5, seed + 1000), targets)
        values.append(scores.mean())
        told.append(scores.std(ddof=1) / 10)
    assert np.mean(told) == pytest.approx(np.std(values), rel=0.15)


@pytest.mark.parametrize("name", ["r2", "rmse", "mae", "cosine"])
def test_a_larger_error_is_a_drop(name: str) -> None:
    told = evaluate(near(TARGETS, 0.6), near(TARGETS, 0.2), TARGETS, metric=name)
    assert told.drop.low > 0
    assert told.metric == {"rmse": "neg_rmse", "mae": "neg_mae"}.get(name, name)
    assert evaluate(near(TARGETS, 0.2), near(TARGETS, 0.2), TARGETS, metric=name).drop.value == 0


def test_worse_maps_are_a_drop() -> None:
    told = evaluate(mostly(MAPS, 0.6), mostly(MAPS, 0.9), MAPS)
    assert told.metric == "miou"
    assert told.drop.low > 0


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        (
            "rmse",
            np.zeros((200, 4), np.float32),
            "labels of shape \\[4\\] for the network's outputs out \\[5\\]",
        ),
        ("r2", np.ones((200, 5), np.float32), "the labels are the same for every sample"),
        ("top1", TARGETS, "allowed: one class number per sample"),
        ("miou", TARGETS, "allowed: for miou one output"),
    ],
)
def test_labels_that_do_not_fit_are_told(name: str, labels: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        METRICS[name](near(TARGETS, 0.1), labels)
    assert "\n" not in str(caught.value)


def test_a_class_that_the_output_lacks_is_told() -> None:
    with pytest.raises(DataError, match=r"label 7 in the map of sample 3; allowed: 0 to 2"):
        METRICS["miou"](mostly(MAPS, 1.0), np.where(np.arange(40)[:, None, None] == 3, 7, MAPS))


def own(folder: Path, body: str) -> str:
    (folder / "own.py").write_text(f"import numpy as np\n\n\ndef score(outputs, truth):\n    {body}\n")
    return f"{folder / 'own.py'}:score"


def test_one_number_for_the_set_has_the_interval_of_its_scores(tmp_path: Path) -> None:
    labels, outputs = TARGETS, near(TARGETS, 0.5)
    whole = own(tmp_path, "return 1 - float(np.abs(outputs['out'] - truth).mean())")
    told = estimate_mean(find_scoring(whole, labels, outputs).scores(outputs))
    exact = estimate_mean(1 - np.abs(outputs["out"] - labels).mean(axis=1))
    assert told.value == pytest.approx(exact.value)
    assert told.high - told.low == pytest.approx(exact.high - exact.low, rel=0.4)


@pytest.mark.parametrize(
    ("metric", "noise"), [("rmse", 0.2), ("cosine", 0.2), ("own", 0.2), ("own", 0.0), ("mae", 0.0)]
)
def test_without_labels_the_original_is_the_truth(tmp_path: Path, metric: str, noise: float) -> None:
    reference = near(TARGETS, 0.1)
    body = "return -np.abs(outputs['out'] - truth['out']).mean(axis=1)"
    told = evaluate(
        {"out": reference["out"] + noise * RANDOM.standard_normal(TARGETS.shape)},
        reference,
        None,
        metric=own(tmp_path, body) if metric == "own" else metric,
    )
    assert (told.drop.value > 0) == (noise > 0)


def test_maps_without_labels_are_held_against_the_originals() -> None:
    told = evaluate(mostly(MAPS, 0.7), mostly(MAPS, 1.0), None, metric="miou")
    assert 0.4 < told.value.value < 0.9
    assert told.drop.value == pytest.approx(1 - told.value.value)


def test_class_metrics_without_labels_are_refused() -> None:
    with pytest.raises(DataError, match="metric top5 needs labels"):
        find_scoring("top5", None, near(TARGETS, 0.1))


def test_a_metric_for_labels_says_what_it_got_instead(tmp_path: Path) -> None:
    metric = own(tmp_path, "return (outputs['out'].argmax(1) == truth[:, 0]).astype(float)")
    with pytest.raises(DataError, match="the original's outputs, as there are no labels"):
        evaluate(near(TARGETS, 0.1), near(TARGETS, 0.1), None, metric=metric)


@pytest.mark.parametrize("metric", [None, "r2", "rmse", "mae"])
def test_a_regression_that_does_not_beat_the_mean_is_weak(metric: str | None) -> None:
    assert find_weakness(near(TARGETS, 0.3), TARGETS, metric) == ""
    assert find_weakness({"out": TARGETS.copy()}, TARGETS, metric) == ""
    assert "than to answer the labels' mean always" in find_weakness(near(TARGETS * 0, 0.1), TARGETS, metric)


def test_maps_that_fit_any_sample_are_weak() -> None:
    assert find_weakness(mostly(MAPS, 0.8), MAPS, None) == ""
    assert "with the labels of other samples" in find_weakness(mostly(MAPS, 0.0), MAPS, None)


def test_a_metric_without_labels_has_to_tell_samples_apart(tmp_path: Path) -> None:
    outputs = near(TARGETS, 0.1)
    blind = own(tmp_path, "return np.ones(len(outputs['out']))")
    assert "with the outputs of other samples" in find_weakness(outputs, None, blind)
    assert find_weakness(outputs, None, "rmse") == ""
