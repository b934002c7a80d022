"""COCO's mean average precision with a decoder of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.measure import find_metric
from edgekit.measure.weakness import find_weakness

DECODER = "def decode(outputs):\n    return [rows[rows[:, 1] > 0] for rows in outputs['boxes']]\n"


@pytest.fixture
def decoder(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(DECODER)
    return f"{tmp_path / 'net.py'}:decode"


def scene(samples: int = 30, noise: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three boxes a sample of two classes; answered with boxes that are off by `noise` pixels."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 50, (samples, 3, 2))
    sizes = rng.uniform(10, 30, (samples, 3, 2))
    classes = rng.integers(0, 2, (samples, 3, 1))
    labels = np.concatenate([classes, corners, corners + sizes], axis=2).astype(np.float32)
    off = rng.normal(size=(samples, 3, 4)) * noise
    scores = rng.uniform(0.5, 1, (samples, 3, 1))
    boxes = np.concatenate([classes, scores, labels[..., 1:] + off], axis=2)
    padding = np.zeros((samples, 2, 5), np.float32)
    padding[..., 0] = -1
    return {"boxes": boxes}, np.concatenate([labels, padding], axis=1)


def test_boxes_in_their_places_are_worth_one(decoder: str) -> None:
    outputs, labels = scene()
    scores = find_metric(f"map:{decoder}")(outputs, labels)
    assert scores.shape == (30,)
    assert scores.mean() == pytest.approx(1.0)


def test_the_figure_is_that_of_pycocotools_by_hand(decoder: str) -> None:
    """One class, three answers of which the second is wrong: precision 1 up to recall 1/2, then 2/3."""
    labels = np.array([[[0, 0, 0, 10, 10], [0, 20, 20, 30, 30]], [[-1, 0, 0, 0, 0]] * 2], np.float32)
    boxes = np.array(
        [
            [[0, 0.9, 0, 0, 10, 10], [0, 0.8, 60, 60, 70, 70], [0, 0.7, 20, 20, 30, 30]],
            [[0, 0, 0, 0, 1, 1]] * 3,
        ]
    )
    outputs = {"boxes": np.concatenate([boxes, boxes[:1]])}
    scores = find_metric(f"map50:{decoder}")(outputs, np.concatenate([labels, labels[:1]]))
    # Over 101 recalls, of two equal samples: 51 of them at precision 1, 50 at 4 right of 6.
    assert scores.mean() == pytest.approx((51 + 50 * 4 / 6) / 101)


def test_less_exact_boxes_are_worth_less_and_most_at_one_half(decoder: str) -> None:
    outputs, labels = scene(noise=2.0)
    strict, loose = (find_metric(f"{name}:{decoder}")(outputs, labels).mean() for name in ("map", "map50"))
    assert 0.1 < strict < loose <= 1.0


def test_a_network_that_finds_nothing_is_worth_nothing(decoder: str) -> None:
    outputs, labels = scene()
    assert find_metric(f"map:{decoder}")({"boxes": outputs["boxes"] * 0}, labels).mean() == 0.0


def test_boxes_of_other_samples_show_a_network_that_does_not_look(decoder: str) -> None:
    outputs, labels = scene()
    spec = f"map50:{decoder}"
    assert find_weakness(outputs, labels, spec) == ""
    same = {"boxes": np.repeat(outputs["boxes"][:1], 30, axis=0)}
    assert "no better" in find_weakness(same, labels, spec)


@pytest.mark.parametrize("spec", ["map", "map50", "map:", "map:decode"])
def test_a_metric_without_its_decoder_is_told_how_it_is_given(spec: str) -> None:
    with pytest.raises(DataError, match=r"has no decoder; allowed: map(50)?:file.py:function of \(outputs\)"):
        find_metric(spec)


def test_the_words_of_others_lead_to_it() -> None:
    with pytest.raises(DataError, match=r"did you mean map:file\.py:decoder"):
        find_metric("mean_average_precision")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def decode(o): return o['boxes'][:2]", "gave 2 arrays for 30 samples"),
        (
            "def decode(o): return o['boxes'][..., :5]",
            r"gave \[3, 5\] for sample 0; allowed: for each sample",
        ),
        ("def decode(o): return o['boxes'] * float('nan')", "not all of it finite"),
        ("def decode(o): return o['absent']", "raised KeyError"),
        ("def other(o): return o", "has no 'decode'"),
    ],
)
def test_what_a_decoder_does_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "net.py").write_text(text)
    outputs, labels = scene()
    with pytest.raises(DataError, match=said):
        find_metric(f"map:{tmp_path / 'net.py'}:decode")(outputs, labels)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda labels: labels[..., :4],
            r"labels float32 \[5, 4\] for mAP; allowed: float or whole \[N, boxes, 5\]",
        ),
        (lambda labels: labels[:, 0, 0], "for mAP"),
        (lambda labels: labels + np.float32(0.5), "no whole numbers"),
        (lambda labels: labels[..., [0, 3, 4, 1, 2]], "x1 <= x0"),
        (lambda labels: labels * 0 - 1, "no box at all"),
    ],
)
def test_labels_that_are_no_boxes_are_told(decoder: str, change: object, said: str) -> None:
    outputs, labels = scene()
    with pytest.raises(DataError, match=said):
        find_metric(f"map:{decoder}")(outputs, change(labels))  # type: ignore[operator]


def test_labels_are_needed(decoder: str) -> None:
    outputs, _ = scene()
    with pytest.raises(DataError, match="mAP without labels"):
        find_metric(f"map:{decoder}")(outputs, outputs)
