"""Detection: a detector of the YOLO class on micrographs of blood cells, pruned and distilled, in INT8.

usage: python benchmarks/scenarios/detector.py --data DIR [--work DIR] [--epochs 12] [--student-epochs 12] [--threads 1]

DIR holds bccd-jpeg.npz: 364 images with boxes of three kinds of cells. Each training image comes COPIES times, flipped,
cropped and brightened otherwise; an epoch is all of these. The published validation part (30 images) is joined by every
sixth training image. The budget is the claim, by the fastest build of the teacher in float. Figures are COCO's mAP of
the test part, 75 images.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from detector_networks import HEIGHT, WIDTH, make_large
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scenario import HERE, Claim, arguments, build, fastest_original, show_beside, trained, training_part

from edgekit.compress import TrainConfig
from edgekit.types import Preprocess

CLAIM = Claim(faster=2.0, smaller=4.0, points=1.0)
COPIES, MOST_BOXES, VALIDATED = 8, 32, 6


def main() -> None:
    asked = arguments(__doc__, "detector", epochs=12.0, student_epochs=12.0)
    arrays = prepare(asked.data / "bccd-jpeg.npz", asked.work)
    preprocess = Preprocess(input_layout="nhwc", scale=255.0)
    train = training_part(arrays, preprocess, asked)
    code = HERE / "detector_training.py"
    config = TrainConfig(
        epochs=asked.epochs, optimizer="adamw", learning_rate=2e-3, batch_size=16, augment="none",
        loss=f"{code}:plain_loss",
    )  # fmt: skip
    weights = asked.work / "large.safetensors"
    trained(make_large(), train, config, weights)
    networks = HERE / "detector_networks.py"
    common = (
        "--model", f"{networks}:make_large", "--weights", str(weights), "--data", str(arrays),
        "--input-layout", "nhwc", "--scale", "255", "--metric", f"map:{code}:decode", "--loss", f"{code}:loss",
        "--max-drop", f"{CLAIM.points}%",
    )  # fmt: skip
    plain = build(
        asked.work / "float", *common, "--compress", "none", "--precision", "fp32", "--max-latency", "auto"
    )
    original = fastest_original(plain)
    result = build(
        asked.work / "out", *common, "--student", f"{networks}:make_small", "--epochs", str(asked.student_epochs),
        "--optimizer", "adamw", "--learning-rate", "2e-3", "--compress", "prune,student",
        "--max-latency", f"{original['latency_ms']['p50'] / CLAIM.faster:.3f}ms",
        "--max-size", f"{original['size_bytes'] / CLAIM.smaller:.0f}", "--precision", "fp32,int8", *asked.build_option,
    )  # fmt: skip
    show_beside("detector", result, CLAIM)


def prepare(images: Path, work: Path) -> Path:
    """uint8 [N, HEIGHT, WIDTH, 3] and float32 [N, MOST_BOXES, 5] of class and box in pixels, by part."""
    path = work / "cells.npz"
    if path.exists():
        return path
    work.mkdir(parents=True, exist_ok=True)
    with np.load(images) as z:
        content, ends, parts, boxes, owner = (
            z[name] for name in ("jpeg", "offsets", "split", "boxes", "image")
        )
    validated = np.flatnonzero(parts == "train")[::VALIDATED]
    parts[validated] = "val"
    chance = np.random.default_rng(0)
    members: dict[str, Any] = {}
    for part in ("train", "val", "test"):
        pictures, labels = [], []
        for index in np.flatnonzero(parts == part):
            picture = Image.open(io.BytesIO(content[ends[index] : ends[index + 1]].tobytes())).convert("RGB")
            own = boxes[owner == index]
            for _ in range(COPIES if part == "train" else 1):
                altered, moved = augmented(picture, own, chance) if part == "train" else (picture, own)
                pictures.append(np.asarray(altered.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)))
                labels.append(
                    padded(moved * np.array([1.0, *2 * (WIDTH / altered.width, HEIGHT / altered.height)]))
                )
        members[f"x_{part}"], members[f"y_{part}"] = np.stack(pictures), np.stack(labels)
    partial = work / "partial.npz"
    np.savez(partial, **members)
    partial.replace(path)
    return path


def augmented(
    picture: Image.Image, boxes: NDArray[np.float32], chance: np.random.Generator
) -> tuple[Image.Image, NDArray[np.float64]]:
    """A part of at least 70 % of each side, perhaps mirrored, brighter or darker; boxes of which a third is left."""
    share = chance.uniform(0.7, 1.0)
    width, height = int(picture.width * share), int(picture.height * share)
    left, top = (
        int(chance.integers(picture.width - width + 1)),
        int(chance.integers(picture.height - height + 1)),
    )
    moved = boxes.astype(np.float64) - np.array([0, left, top, left, top])
    whole = np.prod(moved[:, 3:] - moved[:, 1:3], axis=1)
    moved[:, 1:] = np.clip(moved[:, 1:], 0, [width, height, width, height])
    moved = moved[np.prod(moved[:, 3:] - moved[:, 1:3], axis=1) > whole / 3]
    altered = picture.crop((left, top, left + width, top + height))
    if chance.random() < 0.5:
        altered = altered.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        moved[:, [1, 3]] = width - moved[:, [3, 1]]
    if chance.random() < 0.5:
        altered = altered.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        moved[:, [2, 4]] = height - moved[:, [4, 2]]
    return ImageEnhance.Brightness(altered).enhance(chance.uniform(0.8, 1.2)), moved


def padded(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """[MOST_BOXES, 5]; rows that are none have class -1."""
    rows = np.full((MOST_BOXES, 5), -1, np.float32)
    kept = boxes[:MOST_BOXES]
    rows[: len(kept)] = kept
    return rows


if __name__ == "__main__":
    main()
