from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataSource, open_source
from edgekit.errors import DataError
from edgekit.types import Preprocess

image = pytest.importorskip("PIL.Image")


def draw(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(path)


def opened(folder: Path, preprocess: Preprocess | None = None) -> DataSource:
    return open_source(folder, preprocess or Preprocess(), folder / "cache")


def test_classes_are_the_folders_in_order(tmp_path: Path) -> None:
    for index, name in enumerate(("dog", "cat", "bird")):
        draw(tmp_path / name / "a.png", index)
    source = opened(tmp_path)
    assert source.classes == ("bird", "cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2]
    assert source.take(np.array([2])).inputs[0].shape == (1, 3, 4, 6)


def test_parts_stand_above_classes(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        draw(tmp_path / part / "a" / "1.png", 1)
        draw(tmp_path / part / "b" / "1.png", 2)
    source = opened(tmp_path)
    assert source.parts == {"train": range(2), "val": range(2, 4), "test": range(4, 6)}
    assert source.classes == ("a", "b")


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 1)
    draw(tmp_path / "2.png", 2)
    source = opened(tmp_path)
    assert not source.labelled
    assert source.parts == {}


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 7, mode="L")
    batch = opened(tmp_path).take(np.array([0]))
    assert batch.inputs[0].shape == (1, 1, 4, 6)
    assert np.all(batch.inputs[0] == 7)


def test_one_colour_image_makes_all_colour(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 7, mode="L")
    draw(tmp_path / "b" / "1.png", 7)
    assert opened(tmp_path).take(np.array([0, 1])).inputs[0].shape == (2, 3, 4, 6)


def test_sizes_are_made_equal_by_resize_and_crop(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1, size=(20, 10))
    draw(tmp_path / "b" / "1.png", 2, size=(9, 30))
    source = opened(tmp_path, Preprocess(resize=8, crop=6))
    assert source.take(np.array([0, 1])).inputs[0].shape == (2, 3, 6, 6)


def test_different_sizes_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1, size=(20, 10))
    draw(tmp_path / "b" / "1.png", 2, size=(9, 30))
    with pytest.raises(DataError, match=r"9x30, 1\.png is 20x10.*set resize and crop"):
        opened(tmp_path)


def test_a_shorter_side_alone_leaves_different_sizes_and_is_told_so(tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 1, size=(20, 10))
    draw(tmp_path / "2.png", 2, size=(9, 30))
    with pytest.raises(DataError, match=r"8 is the shorter side alone; both: --resize 8x8 .*--crop 8"):
        opened(tmp_path, Preprocess(resize=8))


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images; allowed: one folder per class"):
        opened(tmp_path)


def test_an_empty_part_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "a" / "1.png", 1)
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="val holds no images"):
        opened(tmp_path)


def test_images_beside_class_folders_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1)
    draw(tmp_path / "stray.png", 1)
    with pytest.raises(DataError, match=r"stray\.png lies beside the class folders"):
        opened(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png is not a readable image"):
        opened(tmp_path)


def test_an_image_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a" / "1.png"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"1\.png cannot be decoded"):
        opened(tmp_path).take(np.array([0]))


def test_nchw_is_refused_for_images(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1)
    with pytest.raises(DataError, match="decoded images are nhwc"):
        opened(tmp_path, Preprocess("nchw"))


def test_digest_follows_content(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1)
    before = opened(tmp_path).digest
    draw(tmp_path / "a" / "1.png", 2)
    assert opened(tmp_path).digest != before


def test_images_that_unpack_to_far_more_than_they_are_end_the_reading_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.data.images.MOST_PIXELS", 3 * 400 * 400)
    for index in range(5):
        draw(tmp_path / "a" / f"{index}.png", 1, (400, 400))
    with pytest.raises(
        DataError, match=r"the first 4 images make 640,000 pixels of .* bytes; allowed: 480,000"
    ):
        opened(tmp_path)


def test_many_images_of_many_bytes_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data.images.MOST_PIXELS", 10)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for index in range(5):
        (tmp_path / "a").mkdir(exist_ok=True)
        image.fromarray(noise).save(tmp_path / "a" / f"{index}.png")
    assert len(opened(tmp_path)) == 5


def test_a_batch_that_is_larger_than_the_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "a" / "0.png", 1, (1000, 800))
    source = opened(tmp_path)
    monkeypatch.setenv("EDGEKIT_WORKER_MEMORY_GB", "0.05")
    assert source.take(np.zeros(1, np.int64)).inputs[0].shape == (1, 3, 800, 1000)
    with pytest.raises(DataError, match=r"64 images of 1000x800 take 0.614 GB at once; allowed: 0.05 GB"):
        source.take(np.zeros(64, np.int64))
    small = opened(tmp_path, Preprocess(resize=(10, 10)))
    assert small.take(np.zeros(64, np.int64)).inputs[0].shape == (64, 3, 10, 10)
