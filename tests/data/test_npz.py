from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataSource, open_source
from edgekit.errors import DataError, StoreError
from edgekit.types import Preprocess

X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10) % 2


def opened(folder: Path, *, compressed: bool = False, **members: object) -> DataSource:
    save = np.savez_compressed if compressed else np.savez
    save(folder / "d.npz", **members)
    return open_source(folder / "d.npz", Preprocess(), folder / "cache")


def test_uncompressed_samples_are_read_out_of_the_archive(tmp_path: Path) -> None:
    source = opened(tmp_path, x=X, y=Y)
    assert np.array_equal(source.take(np.array([3, 4, 9, 0])).inputs[0], X[[3, 4, 9, 0]])
    assert not (tmp_path / "cache").exists()


def test_compressed_samples_are_unpacked_once(tmp_path: Path) -> None:
    first = opened(tmp_path, compressed=True, x=X, y=Y)
    unpacked = list((tmp_path / "cache").rglob("x.npy"))
    assert len(unpacked) == 1
    before = unpacked[0].stat().st_mtime_ns
    again = open_source(tmp_path / "d.npz", Preprocess(), tmp_path / "cache")
    assert unpacked[0].stat().st_mtime_ns == before
    assert np.array_equal(first.take(np.arange(10)).inputs[0], again.take(np.arange(10)).inputs[0])


def test_parts_follow_one_another(tmp_path: Path) -> None:
    source = opened(tmp_path, x_train=X, y_train=Y, x_test=X[:3] + 100, y_test=Y[:3])
    assert source.parts == {"train": range(10), "test": range(10, 13)}
    assert np.array_equal(source.take(np.array([9, 10])).inputs[0], np.stack([X[9], X[0] + 100]))


def test_digest_depends_on_content_and_preprocessing(tmp_path: Path) -> None:
    source = opened(tmp_path, x=X, y=Y)
    scaled = open_source(tmp_path / "d.npz", Preprocess(scale=255), tmp_path / "cache")
    other = opened(tmp_path, x=X + 1, y=Y)
    assert len({source.digest, scaled.digest, other.digest}) == 3


def test_class_names_may_be_in_the_file(tmp_path: Path) -> None:
    assert opened(tmp_path, x=X, y=Y, classes=np.array(["no", "yes"])).classes == ("no", "yes")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (np.array([1, 2]), "names in label order"),
        (np.array([["no", "yes"]]), "names in label order"),
        (np.array(["no", "yes"], dtype=object), r"save numpy\.array"),
        (np.array(["no", "no"]), "'no' is class 0 and class 1"),
    ],
)
def test_class_names_that_cannot_be_used_are_told(tmp_path: Path, classes: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        opened(tmp_path, x=X, y=Y, classes=classes)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x": X, "y": Y[:9]}, "10 samples but 9 labels"),
        ({"x": X[:0], "y": Y[:0]}, "is empty"),
        ({"images": X}, "x_train"),
        ({"x": X, "x_val": X}, "x together with x_val"),
        ({"y_train": Y, "x_val": X}, "y_train has no x_train"),
        ({"x_train": X, "x_val": X[:, :3]}, "the parts differ"),
        ({"x_train": X, "y_train": Y, "x_val": X}, "y_val is absent"),
        ({"x": np.array(["a", "b"])}, "allowed: numbers"),
        ({"x": np.array([object()], dtype=object)}, "holds Python objects"),
        ({"x": X, "y": np.array([object()] * 10, dtype=object)}, "not a readable array"),
        ({"x": X, "y": np.where(Y == 1, np.nan, Y)}, "the label of sample 1 holds NaN"),
        ({"x": X, "y": np.float32(3)}, "a single value"),
        ({"x": np.float32(3)}, "a single value"),
        ({"x": np.asfortranarray(X)}, "Fortran order"),
    ],
)
def test_bad_members_are_told_in_one_line(tmp_path: Path, members: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, **members)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        open_source(tmp_path / "d.npz", Preprocess(), tmp_path)


def test_a_truncated_archive_is_told(tmp_path: Path) -> None:
    opened(tmp_path, x=X, y=Y)
    content = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        open_source(tmp_path / "d.npz", Preprocess(), tmp_path)


def test_a_file_cut_while_in_use_is_told(tmp_path: Path) -> None:
    source = opened(tmp_path, x=X, y=Y)
    with open(tmp_path / "d.npz", "r+b") as file:
        file.truncate(200)
    with pytest.raises(DataError, match="ends early"):
        source.take(np.array([9]))


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "absent.npz", Preprocess(), tmp_path)


def swap_rows(path: Path) -> None:
    """Two rows of the unpacked x change places: same size, same values."""
    content = bytearray(path.read_bytes())
    rows = len(content) - X.nbytes
    content[rows : rows + 16], content[rows + 16 : rows + 32] = (
        content[rows + 16 : rows + 32],
        content[rows : rows + 16],
    )
    path.write_bytes(content)


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_link(path: Path) -> None:
    changed = path.with_name("elsewhere")
    changed.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(changed)


@pytest.mark.parametrize("damage", [swap_rows, flip_last_bit, cut, to_pipe, to_link])
def test_an_unpacked_copy_that_differs_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    opened(tmp_path, compressed=True, x=X, y=Y)
    (unpacked,) = (tmp_path / "cache").rglob("x.npy")
    damage(unpacked)
    again = open_source(tmp_path / "d.npz", Preprocess(), tmp_path / "cache")
    assert np.array_equal(again.take(np.arange(10)).inputs[0], X)
    assert not unpacked.is_symlink()


@pytest.mark.parametrize("member", ["x", "y", "classes"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_wrong_checksum_is_refused_as_numpy_refuses_it(
    tmp_path: Path, member: str, compressed: bool
) -> None:
    members = {"x": X, "y": Y, "classes": np.array(["no", "yes"])}
    opened(tmp_path, compressed=compressed, **members)
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path) as archive:
        crc = archive.getinfo(f"{member}.npy").CRC
    content = path.read_bytes()
    wrong = content.replace(crc.to_bytes(4, "little"), (crc ^ 1).to_bytes(4, "little"))
    assert wrong != content
    path.write_bytes(wrong)
    with pytest.raises(zipfile.BadZipFile), np.load(path) as archive:
        archive[member]
    with pytest.raises(DataError, match=rf"not a readable \.npz file: Bad CRC-32 for file '{member}\.npy'"):
        open_source(path, Preprocess(), tmp_path / "other")


def test_nothing_is_unpacked_through_a_link(tmp_path: Path) -> None:
    opened(tmp_path, compressed=True, x=X, y=Y)
    (unpacked,) = (tmp_path / "cache").rglob("x.npy")
    unpacked.parent.rename(tmp_path / "elsewhere")
    unpacked.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        open_source(tmp_path / "d.npz", Preprocess(), tmp_path / "cache")


@pytest.mark.parametrize("labels", [np.array(["up", "down", "up"]), None])
def test_arrays_of_other_names_come_with_the_line_that_renames_them(
    tmp_path: Path, labels: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    samples = np.random.default_rng(0).random((3, 1, 4, 5))
    np.savez("val.npz", **({"features": samples} | ({} if labels is None else {"labels": labels})))
    with pytest.raises(DataError, match=r"val\.npz has features") as caught:
        open_source("val.npz", Preprocess(), tmp_path / "cache")
    line = str(caught.value).partition("rename them: ")[2]
    exec(line.replace("d = numpy", "import numpy; d = numpy"), {})
    with np.load("named.npz") as renamed:
        np.testing.assert_array_equal(renamed["x"], samples)
        assert ("y" in renamed) == (labels is not None)


def test_arrays_of_other_names_that_may_be_either_get_no_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", a=np.zeros(3), b=np.ones(3))
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / "val.npz", Preprocess(), tmp_path / "cache")
    assert "rename" not in str(caught.value)
