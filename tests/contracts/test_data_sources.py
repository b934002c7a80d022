"""Every source passes the one contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataSource, from_arrays, open_source
from edgekit.testing.data_contract import check_data_source
from edgekit.types import Preprocess

IMAGES = Preprocess(input_layout="nhwc", scale=255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)


def npz(folder: Path) -> DataSource:
    np.savez(folder / "d.npz", x=pixels(9), y=np.arange(9) % 3)
    return open_source(folder / "d.npz", IMAGES, folder / "cache")


def compressed_npz_with_parts(folder: Path) -> DataSource:
    parts = {f"x_{part}": pixels(5, seed) for seed, part in enumerate(("train", "val", "test"))}
    labels = {f"y_{part}": np.arange(5) % 2 for part in ("train", "val", "test")}
    np.savez_compressed(folder / "d.npz", **parts, **labels)
    return open_source(folder / "d.npz", IMAGES, folder / "cache")


def unlabelled_npz(folder: Path) -> DataSource:
    np.savez(folder / "d.npz", x=pixels(4))
    return open_source(folder / "d.npz", IMAGES, folder / "cache")


def arrays(folder: Path) -> DataSource:
    return from_arrays(pixels(7), np.arange(7) % 2, preprocess=IMAGES)


def two_inputs(folder: Path) -> DataSource:
    return from_arrays((np.ones((5, 4), np.float32), np.arange(10).reshape(5, 2)), np.arange(5) % 2)


def image_folder(folder: Path) -> DataSource:
    image = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        (folder / "set" / name).mkdir(parents=True)
        for index in range(3):
            image.fromarray(pixels(1, index)[0]).save(folder / "set" / name / f"{index}.png")
    return open_source(folder / "set", IMAGES, folder / "cache")


def factory_of_batches(folder: Path) -> DataSource:
    (folder / "d.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    for i in range(3):\n"
        "        yield np.full((4, 2), i, np.float32), np.arange(4) % 2\n"
    )
    return open_source(f"{folder / 'd.py'}:batches", Preprocess(), folder / "cache")


def digits(folder: Path) -> DataSource:
    pytest.importorskip("sklearn")
    return open_source("digits", Preprocess(), folder / "cache")


SOURCES = (
    npz,
    compressed_npz_with_parts,
    unlabelled_npz,
    arrays,
    two_inputs,
    image_folder,
    factory_of_batches,
    digits,
)


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_source_keeps_the_contract(make: Callable[[Path], DataSource], tmp_path: Path) -> None:
    check_data_source(make(tmp_path))
