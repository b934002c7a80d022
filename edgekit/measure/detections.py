"""COCO's mean average precision, of boxes that a decoder of the user's reads out of a detector's outputs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.measure.groups import group_scores
from edgekit.reference import UserCode, is_reference, load_function

__all__ = ["find_detection_metric"]

Floats = NDArray[np.float64]
Outputs = Mapping[str, NDArray[np.generic]]
Average = Callable[[NDArray[np.int64]], float]

OVERLAPS: Mapping[str, float | None] = {"map": None, "map50": 0.5}
"""Name → the overlap that makes a box right; None: the mean over 0.5, 0.55, … 0.95, which is COCO's own figure."""

BOX_LABELS = "float or whole [N, boxes, 5]: class, x0, y0, x1, y1, padded with rows of class -1"
DECODED = "for each sample an array [boxes, 6]: class, score, x0, y0, x1, y1"


def find_detection_metric(spec: str) -> Callable[[Outputs, Any], Floats] | None:
    """'map:REFERENCE' or 'map50:REFERENCE' as a metric; None for another spec.

    The reference is a decoder: outputs by name, each [N, ...] → for each sample an array [boxes, 6] of class, score,
    x0, y0, x1, y1, after non-maximum suppression; at most 100 of each class count, those of the highest score. Labels
    are [N, boxes, 5]: class, x0, y0, x1, y1, in the decoder's unit, padded with rows of class -1. The figure is
    pycocotools'; its uncertainty is found by leaving out groups of samples (see `group_scores`). Raises DataError for a
    spec without its decoder, and where pycocotools is not installed.
    """
    name, colon, decoder = spec.partition(":")
    if name not in OVERLAPS:
        return None
    if not colon or not is_reference(decoder):
        raise DataError(
            f"metric {spec!r} has no decoder",
            allowed=f"{name}:file.py:function of (outputs), which gives {DECODED}",
        )
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as problem:
        raise DataError(
            f"metric {name} needs pycocotools, which is not installed",
            remedy="pip install 'edgekit[detection]'",
        ) from problem
    try:
        function = load_function(decoder, DataError)
    except DataError as problem:
        raise DataError(f"metric {spec!r}: {problem}") from problem

    def score(outputs: Outputs, labels: Any) -> Floats:
        truth = _true_boxes(labels)
        with UserCode(f"the decoder {decoder} of (outputs)", DataError):
            answered = list(function(outputs))
        average = _average(_decoded(decoder, answered, len(truth)), truth, OVERLAPS[name])
        numbers = np.arange(len(truth))
        return group_scores(lambda _, chosen: average(chosen), {"sample": numbers}, numbers)

    return score


def _true_boxes(labels: Any) -> list[Floats]:
    """Per sample its boxes [n, 5], without the padding."""
    if not isinstance(labels, np.ndarray):
        raise DataError("mAP without labels", allowed=f"labels {BOX_LABELS}")
    if labels.ndim != 3 or labels.shape[2] != 5:
        raise DataError(f"labels {labels.dtype} {list(labels.shape[1:])} for mAP", allowed=BOX_LABELS)
    boxes = [np.asarray(rows[rows[:, 0] >= 0], np.float64) for rows in labels]
    for sample, rows in enumerate(boxes):
        if (rows[:, 0] != np.round(rows[:, 0])).any():
            raise DataError(
                f"the boxes of sample {sample} have classes that are no whole numbers", allowed=BOX_LABELS
            )
        if (rows[:, 3:] <= rows[:, 1:3]).any():
            raise DataError(
                f"a box of sample {sample} has x1 <= x0 or y1 <= y0",
                allowed=f"corners, not sizes: {BOX_LABELS}",
            )
    if not sum(map(len, boxes)):
        raise DataError("the labels hold no box at all", allowed=BOX_LABELS)
    return boxes


def _decoded(decoder: str, answered: Sequence[Any], count: int) -> list[Floats]:
    if len(answered) != count:
        raise DataError(
            f"the decoder {decoder} gave {len(answered)} arrays for {count} samples", allowed=DECODED
        )
    boxes = []
    for sample, rows in enumerate(answered):
        array = np.asarray(rows, np.float64)
        array = array.reshape(0, 6) if array.size == 0 else array
        if array.ndim != 2 or array.shape[1] != 6 or not np.isfinite(array).all():
            raise DataError(
                f"the decoder {decoder} gave {list(array.shape)} for sample {sample}"
                + ("" if np.isfinite(array).all() else ", not all of it finite"),
                allowed=DECODED,
            )
        boxes.append(array)
    return boxes


def _average(answered: Sequence[Floats], truth: Sequence[Floats], overlap: float | None) -> Average:
    """Numbers of samples → the mean average precision over them; boxes are matched once for all."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = sorted({int(row[0]) for rows in truth for row in rows})
    with contextlib.redirect_stdout(io.StringIO()):
        true_boxes = COCO()
        true_boxes.dataset = {
            "images": [{"id": sample} for sample in range(len(truth))],
            "categories": [{"id": number} for number in classes],
            "annotations": [
                {**_box(sample, row[0], row[1:]), "id": number, "iscrowd": 0}
                for number, (sample, row) in enumerate(
                    ((sample, row) for sample, rows in enumerate(truth) for row in rows), start=1
                )
            ],
        }
        true_boxes.createIndex()
        told = COCO()
        told.dataset = {
            **true_boxes.dataset,
            "annotations": [
                {**_box(sample, row[0], row[2:]), "id": number, "iscrowd": 0, "score": float(row[1])}
                for number, (sample, row) in enumerate(
                    ((sample, row) for sample, rows in enumerate(answered) for row in rows), start=1
                )
            ],
        }
        told.createIndex()
        judge = COCOeval(true_boxes, told, "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = judge.params.areaRng[:1], judge.params.areaRngLbl[:1]
        if overlap is not None:
            judge.params.iouThrs = np.array([overlap])
        judge.evaluate()
    matched = np.array(judge.evalImgs, dtype=object).reshape(len(classes), len(truth))

    def average(samples: NDArray[np.int64]) -> float:
        chosen = [int(sample) for sample in samples]
        # accumulate() reads these three alone: the matches of the samples, and their numbers.
        judge.evalImgs = list(matched[:, chosen].reshape(-1))
        judge.params.imgIds = judge._paramsEval.imgIds = chosen
        with contextlib.redirect_stdout(io.StringIO()):
            judge.accumulate()
        precision = judge.eval["precision"][..., 0, -1]  # all areas, 100 boxes
        return float(precision[precision > -1].mean()) if (precision > -1).any() else float("nan")

    return average


def _box(sample: int, number: float, corners: Floats) -> dict[str, Any]:
    x0, y0, x1, y1 = map(float, corners)
    area = max(x1 - x0, 0.0) * max(y1 - y0, 0.0)
    return {"image_id": sample, "category_id": int(number), "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area}
