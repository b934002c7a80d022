"""Industrial inspection: a ResNet-101-like teacher into a ShuffleNet-like student, pruned, in INT8.

usage: python benchmarks/scenarios/inspection.py --data DIR [--work DIR] [--epochs 20] [--student-epochs 60]
       [--threads 1]

DIR holds tiles.npz: grey images of magnetic tiles, five kinds of defect and none. They are unequally many, so training
sees the rare kinds several times, and all is judged by balanced accuracy.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from inspection_networks import SIZE, make_resnet101
from numpy.typing import NDArray
from PIL import Image
from scenario import HERE, Claim, arguments, build, show_beside, trained, training_part

from edgekit.compress import TrainConfig
from edgekit.types import Preprocess

CLAIM = Claim(faster=6.0, fewer=100.0, points=2.0)
MEAN, STD = 0.35, 0.2
RARE = 4
"""A class is repeated until it has a RARE-th of the commonest one's images."""


def main() -> None:
    asked = arguments(__doc__, "inspection", epochs=20.0, student_epochs=60.0)
    arrays = prepare(asked.data / "tiles.npz", asked.work)
    preprocess = Preprocess(input_layout="nhwc", scale=255.0, mean=(MEAN,), std=(STD,))
    train = training_part(arrays, preprocess, asked)
    config = TrainConfig(
        epochs=asked.epochs,
        learning_rate=0.05,
        batch_size=32,
        alpha=1.0,
        augment="crop-flip",
        weight_decay=1e-4,
    )
    weights = asked.work / "resnet101.safetensors"
    trained(make_resnet101(), train, config, weights)
    networks = HERE / "inspection_networks.py"
    result = build(
        asked.work / "out", "--model", f"{networks}:make_resnet101", "--weights", str(weights), "--data", str(arrays),
        "--input-layout", "nhwc", "--scale", "255", "--mean", str(MEAN), "--std", str(STD),
        "--metric", "balanced_accuracy", "--student", f"{networks}:make_shufflenet",
        "--epochs", str(asked.student_epochs), "--compress", "student", "--precision", "fp32,int8",
        "--max-latency", "auto", "--max-drop", f"{CLAIM.points}%", *asked.build_option,
    )  # fmt: skip
    show_beside("inspection", result, CLAIM)


def prepare(tiles: Path, work: Path) -> Path:
    """The images as uint8 [N, SIZE, SIZE, 1] by part, the rare classes of the training part repeated."""
    path = work / "tiles.npz"
    if path.exists():
        return path
    work.mkdir(parents=True, exist_ok=True)
    with np.load(tiles) as z:
        content, ends, labels, parts, classes = (
            z[name] for name in ("jpeg", "jpeg_offsets", "y", "split", "classes")
        )
    members: dict[str, Any] = {"classes": classes}
    for part in ("train", "val", "test"):
        chosen = np.flatnonzero(parts == part)
        if part == "train":
            chosen = balanced(chosen, labels)
        images = [Image.open(io.BytesIO(content[ends[i] : ends[i + 1]].tobytes())) for i in chosen]
        members[f"x_{part}"] = np.stack(
            [np.asarray(image.convert("L").resize((SIZE, SIZE))) for image in images]
        )[..., None]
        members[f"y_{part}"] = labels[chosen]
    partial = work / "partial.npz"
    np.savez(partial, **members)
    partial.replace(path)
    return path


def balanced(chosen: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices with those of rare classes repeated, whole times."""
    wanted = np.bincount(labels[chosen]).max() / RARE
    of_class = [chosen[labels[chosen] == label] for label in np.unique(labels[chosen])]
    return np.concatenate([np.tile(some, max(1, round(wanted / len(some)))) for some in of_class])


if __name__ == "__main__":
    main()
