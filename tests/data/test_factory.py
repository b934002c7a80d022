from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataSource, open_source
from edgekit.errors import DataError, StoreError
from edgekit.types import Preprocess


def opened(folder: Path, source: str, name: str = "make") -> DataSource:
    (folder / "d.py").write_text("import numpy as np\n" + source)
    return open_source(f"{folder / 'd.py'}:{name}", Preprocess(), folder / "cache")


def test_batches_are_joined(tmp_path: Path) -> None:
    source = opened(
        tmp_path, "def make():\n  for i in range(3): yield np.full((2, 3), i), np.array([0, 1])\n"
    )
    assert len(source) == 6
    assert source.take(np.array([5, 0])).inputs[0].tolist() == [[2.0] * 3, [0.0] * 3]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_batches_without_labels_are_taken(tmp_path: Path) -> None:
    source = opened(tmp_path, "def make(): return [np.ones((2, 3)), np.zeros((1, 3))]\n")
    assert (len(source), source.labelled) == (3, False)


def test_torch_dataset_is_read_sample_by_sample(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = opened(
        tmp_path,
        "import torch\n"
        "class Set(torch.utils.data.Dataset):\n"
        "  def __len__(self): return 5\n"
        "  def __getitem__(self, i): return torch.full((1, 2, 2), float(i)), i % 2\n"
        "def make(): return Set()\n",
    )
    batch = source.take(np.array([4]))
    assert batch.inputs[0].shape == (1, 1, 2, 2)
    assert batch.inputs[0].max() == 4
    assert batch.labels is not None
    assert batch.labels.tolist() == [0]


def test_data_loader_is_an_iterable_of_batches(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    source = opened(
        tmp_path,
        "import torch\n"
        "def make():\n"
        "  data = torch.utils.data.TensorDataset(torch.arange(10.).reshape(5, 2), torch.arange(5) % 2)\n"
        "  return torch.utils.data.DataLoader(data, batch_size=2)\n",
    )
    assert np.array_equal(source.take(np.arange(5)).inputs[0], np.arange(10.0).reshape(5, 2))


def test_dict_declares_parts(tmp_path: Path) -> None:
    source = opened(tmp_path, "def make(): return {'train': [np.ones((4, 2))], 'val': [np.zeros((3, 2))]}\n")
    assert source.parts == {"train": range(4), "val": range(4, 7)}


def test_two_inputs_are_kept_apart(tmp_path: Path) -> None:
    source = opened(
        tmp_path, "def make(): return [((np.ones((4, 2)), np.zeros((4, 3))), np.arange(4) % 2)]\n"
    )
    assert [array.shape for array in source.take(np.array([0])).inputs] == [(1, 2), (1, 3)]


def test_two_inputs_come_as_whole_arrays(tmp_path: Path) -> None:
    source = opened(
        tmp_path, "def make(): return {'test': ((np.ones((4, 2)), np.zeros((4, 3))), np.arange(4) % 2)}\n"
    )
    assert [array.shape for array in source.take(np.array([0])).inputs] == [(1, 2), (1, 3)]
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1]


def test_spool_is_named_by_content_and_reused(tmp_path: Path) -> None:
    code = "def make(): return [np.ones((4, 2))]\n"
    first, second = opened(tmp_path, code), opened(tmp_path, code + "# a comment\n")
    assert first.digest == second.digest
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_local_helpers_are_found_and_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "ek_helper.py").write_text("COUNT = 3\n")
    path = list(sys.path)
    source = opened(tmp_path, "from ek_helper import COUNT\ndef make(): return [np.ones((COUNT, 2))]\n")
    assert len(source) == 3
    assert sys.path == path
    assert "ek_helper" not in sys.modules
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def make(): raise KeyError('no disk')\n", r"raised KeyError: 'no disk' \(.*d\.py:2\)"),
        (
            "def make():\n  yield np.ones((2, 2))\n  1 / 0\n",
            r"reading from .* raised ZeroDivisionError.*d\.py:4",
        ),
        ("raise OSError('gone')\ndef make(): pass\n", r"importing .* raised OSError: gone"),
        ("def make(): exit(3)\n", "raised SystemExit"),
        ("def make(): return 5\n", "gave a int; allowed: batches"),
        ("make = 5\n", "is a int; allowed: a function"),
        ("def make(): return []\n", "gave no samples"),
        ("def make(): return ['text']\n", "gave a str; allowed: numpy arrays"),
        ("def make(): return [np.array(['a'])]\n", "allowed: batches of numbers"),
        ("def make(): return [(np.ones((2, 2)), np.ones(3, int))]\n", "a batch of 2 samples has 3 labels"),
        ("def make(): return [np.ones((2, 2)), np.ones((2, 3))]\n", r"the first was float64 \[2\]"),
        ("def make(): return [np.ones((2, 2)), (np.ones((2, 2)), np.ones(2))]\n", "others have none"),
        ("def make(): return [(np.ones((2, 2)), np.ones(2)), np.ones((2, 2))]\n", "others have none"),
        ("def make(): return [(1, 2, 3)]\n", "tuple of 3"),
        ("def make(): return {'all': [np.ones((2, 2))]}\n", "dict of all; allowed: train, val, test"),
        ("def other(): pass\n", "has no 'make'; allowed: other"),
        ("def maker(): pass\n", "did you mean 'maker'"),
        ("def make(:\n", r"d\.py:2: not valid Python"),
    ],
)
def test_bad_factories_are_told_in_one_line(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, code)
    assert "\n" not in str(caught.value)


def test_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_source(f"{tmp_path}/absent.py:make", Preprocess(), tmp_path)


def test_a_failed_factory_leaves_no_spool(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        opened(tmp_path, "def make():\n  yield np.ones((2, 2))\n  1 / 0\n")
    assert list((tmp_path / "cache").iterdir()) == []


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:8])


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [flip_last_bit, cut, Path.unlink, to_pipe])
def test_a_spooled_copy_that_differs_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    code = "def make(): return [(np.arange(6.0).reshape(2, 3), np.array([0, 1]))]\n"
    digest = opened(tmp_path, code).digest
    (spooled,) = (tmp_path / "cache").rglob("0.bin")
    damage(spooled)
    again = opened(tmp_path, code)
    assert again.digest == digest
    assert again.take(np.arange(2)).inputs[0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_nothing_is_spooled_through_a_link(tmp_path: Path) -> None:
    code = "def make(): return [(np.arange(6.0).reshape(2, 3), np.array([0, 1]))]\n"
    opened(tmp_path, code)
    (spooled,) = (tmp_path / "cache").rglob("0.bin")
    spooled.parent.rename(tmp_path / "elsewhere")
    spooled.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is not a plain folder"):
        opened(tmp_path, code)


def test_a_file_that_a_factory_reads_when_it_is_called_counts(tmp_path: Path) -> None:
    source = (
        "from pathlib import Path\n"
        "def make():\n"
        "  yield np.load(Path(__file__).with_name('x.npy')), np.array([0, 1])\n"
    )
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    first, again = opened(tmp_path, source), opened(tmp_path, source)
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    other = opened(tmp_path, source)
    assert first.digest == again.digest != other.digest
    assert other.take(np.array([1])).inputs[0].tolist() == [[1.0] * 3]
