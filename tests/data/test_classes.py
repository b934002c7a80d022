"""Labels stay what they are, whichever classes have samples, and names, data and outputs are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataSource, check_data, compare_classes, from_arrays, open_source, read_classes
from edgekit.errors import DataError
from edgekit.types import Preprocess, Signature, TensorSpec

NAMES = ("01 cat", "02 dög", "03 鳥", "04 'fish'")


def signature(classes: int) -> Signature:
    return Signature((TensorSpec("x", "float32", (1, 3, 4, 6)),), (TensorSpec("y", "float32", (1, classes)),))


def folder_of(folder: Path, *with_images: str, empty: tuple[str, ...] = (), part: str = "") -> Path:
    images = pytest.importorskip("PIL.Image")
    for name in (*with_images, *empty):
        (folder / part / name).mkdir(parents=True, exist_ok=True)
    for level, name in enumerate(with_images):
        images.new("RGB", (6, 4), (level, 0, 255)).save(folder / part / name / "1.png")
    return folder


def opened(folder: Path, classes: tuple[str, ...] | None = None) -> DataSource:
    return open_source(folder, Preprocess(), folder / "cache", classes)


def labels_of(source: DataSource) -> list[int]:
    assert source.labels is not None
    return source.labels.tolist()


def test_an_empty_class_folder_keeps_its_label_and_is_told(tmp_path: Path) -> None:
    source = opened(folder_of(tmp_path, NAMES[0], *NAMES[2:], empty=(NAMES[1],)))
    assert labels_of(source) == [0, 2, 3]
    assert source.classes == NAMES
    assert check_data(source) == (f"{tmp_path} has no sample of 1 of its 4 classes: '02 dög' (label 1)",)
    assert compare_classes(source, signature(4)) == ()


def test_a_class_folder_that_one_part_lacks_keeps_its_label(tmp_path: Path) -> None:
    folder_of(tmp_path, *NAMES, part="train")
    source = opened(folder_of(tmp_path, NAMES[0], NAMES[3], part="val"))
    assert labels_of(source) == [0, 1, 2, 3, 0, 3]
    assert check_data(source) == ()


def test_a_list_of_names_numbers_the_folders(tmp_path: Path) -> None:
    source = opened(folder_of(tmp_path, "cat", "dog"), ("zebra", "dog", "cow", "cat"))
    assert labels_of(source) == [3, 1]
    assert source.classes == ("zebra", "dog", "cow", "cat")
    (warning,) = check_data(source)
    assert "no sample of 2 of its 4 classes: 'zebra' (label 0), 'cow' (label 2)" in warning


def test_a_folder_that_is_not_in_the_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dog is not among the 2 classes"):
        opened(folder_of(tmp_path, "cat", "dog"), ("cat", "cow"))


def test_the_digest_follows_the_labels(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "cat", "dog")
    before = opened(folder).digest
    assert opened(folder, ("dog", "cat")).digest != before
    (folder / "ant").mkdir()
    assert opened(folder).digest != before


def test_images_without_classes_are_not_labelled_by_an_empty_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, ".", empty=("notes",))
    assert opened(tmp_path).labels is None


@pytest.mark.parametrize("outputs", [3, 10])
def test_another_number_of_classes_than_outputs_is_told(tmp_path: Path, outputs: int) -> None:
    source = opened(folder_of(tmp_path, *NAMES))
    (warning,) = compare_classes(source, signature(outputs))
    assert f"knows 4 classes, the network has {outputs} outputs" in warning
    assert "--classes FILE" in warning


def test_labels_without_names_are_counted_by_the_highest() -> None:
    source = from_arrays(np.zeros((6, 3, 4, 6), np.float32), np.arange(6) % 3)
    assert compare_classes(source, signature(3)) == ()
    (warning,) = compare_classes(source, signature(4))
    assert "knows 3 classes, the network has 4 outputs" in warning


def test_a_label_without_a_name_is_refused() -> None:
    source = from_arrays(np.zeros((6, 2), np.float32), np.arange(6) % 3, classes=("no", "yes"))
    with pytest.raises(DataError, match="label 2 of sample 2 has no name; allowed: 0 to 1"):
        check_data(source)


def test_names_for_an_npz_win_over_its_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 2)), y=np.arange(4) % 2, classes=np.array(["a", "b"]))
    assert opened(tmp_path / "d.npz", ("no", "yes")).classes == ("no", "yes")
    assert opened(tmp_path / "d.npz").classes == ("a", "b")


def test_a_file_of_names_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeff01 cat\r\n 02 dög \n03 鳥\n\n".encode())
    assert read_classes(tmp_path / "names.txt") == NAMES[:3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "names no classes"),
        (b"cat\n\ndog\n", "class 1 has no name"),
        (b"cat\ndog\ncat\n", "'cat' is class 0 and class 2"),
        (b"\xff\xfe\x00", "is not text; allowed: UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_names_that_cannot_be_used_is_told(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_classes(tmp_path / "names.txt")
