"""Data as a Python caller has it: arrays, tensors, data sets, loaders, dicts of these, sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import from_python
from edgekit.errors import DataError
from edgekit.testing.data_contract import check_data_source
from edgekit.types import Preprocess

torch = pytest.importorskip("torch")
data = torch.utils.data

X = np.arange(36, dtype=np.float32).reshape(12, 3)
Y = np.arange(12) % 4


class Pairs(data.Dataset):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return torch.from_numpy(X[index]), int(Y[index])


class Augmented(Pairs):
    def __getitem__(self, index: int) -> tuple[Any, int]:
        return torch.from_numpy(X[index]) + torch.rand(1), int(Y[index])


class Stream(data.IterableDataset):
    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return zip(torch.from_numpy(X), Y.tolist(), strict=True)


GIVEN: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "tensors": lambda: (torch.from_numpy(X), torch.from_numpy(Y)),
    "dataset": Pairs,
    "tensor dataset": lambda: data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "subset": lambda: data.Subset(Pairs(), range(12)),
    "loader": lambda: data.DataLoader(Pairs(), batch_size=5),
    "shuffling loader": lambda: data.DataLoader(Pairs(), batch_size=5, shuffle=True, drop_last=True),
    "loader of a part": lambda: data.DataLoader(
        data.ConcatDataset([Pairs(), Pairs()]), sampler=data.SubsetRandomSampler(range(12))
    ),
    "stream": Stream,
    "loader of a stream": lambda: data.DataLoader(Stream(), batch_size=4),
    "batches": lambda: [(X[:5], Y[:5]), (X[5:], Y[5:])],
}


@pytest.mark.parametrize("kind", GIVEN)
def test_the_same_samples_come_in_the_same_order(kind: str, tmp_path: Path) -> None:
    source = from_python(GIVEN[kind](), Preprocess(), tmp_path)
    check_data_source(source)
    batch = source.take(np.arange(len(source)))
    np.testing.assert_array_equal(batch.inputs[0], X)
    np.testing.assert_array_equal(source.labels, Y)
    again = from_python(GIVEN[kind](), Preprocess(), tmp_path)
    assert again.digest == source.digest


@pytest.mark.parametrize("given", [X, torch.from_numpy(X), (X, None)])
def test_labels_may_be_missing(given: Any, tmp_path: Path) -> None:
    source = from_python(given, Preprocess(), tmp_path)
    assert not source.labelled
    assert len(source) == 12


@pytest.mark.parametrize("part", [lambda rows: (X[rows], Y[rows]), lambda rows: data.Subset(Pairs(), rows)])
def test_parts_come_as_a_dict(part: Callable[[list[int]], Any], tmp_path: Path) -> None:
    given = {"train": part(list(range(8))), "val": part([8, 9]), "test": part([10, 11])}
    source = from_python(given, Preprocess(), tmp_path)
    assert dict(source.parts) == {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
    np.testing.assert_array_equal(source.labels, Y)


def test_preprocessing_and_classes_are_taken_along(tmp_path: Path) -> None:
    source = from_python(Pairs(), Preprocess(scale=2.0), tmp_path, ("a", "b", "c", "d"))
    np.testing.assert_array_equal(source.take(np.array([1])).inputs[0], X[1:2] / 2)
    assert source.classes == ("a", "b", "c", "d")


def test_a_source_is_taken_as_it_is(tmp_path: Path) -> None:
    source = from_python((X, Y), Preprocess(), tmp_path)
    assert from_python(source, Preprocess(), tmp_path) is source
    for preprocess, classes in ((Preprocess(scale=2.0), None), (Preprocess(), ("a", "b", "c", "d"))):
        with pytest.raises(DataError, match="is given beside a data source; let the source have it"):
            from_python(source, preprocess, tmp_path, classes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: Augmented(), "sample 0 is another one when it is read again; leave random augmentation out"),
        (lambda: data.DataLoader(Augmented(), shuffle=True), "sample 0 is another one when it is read again"),
        (
            lambda: data.DataLoader(Pairs(), sampler=data.WeightedRandomSampler([1.0] * 12, 12)),
            "its WeightedRandomSampler decides which samples come; give the data set itself",
        ),
        (
            lambda: data.DataLoader(Pairs(), sampler=data.RandomSampler(Pairs(), replacement=True)),
            "its RandomSampler decides which samples come",
        ),
        (lambda: (X, Y, Y), r"data is a tuple of 3; allowed: \(x, y\)"),
        (lambda: (X, Y[:5]), "12 samples but 5 labels"),
        (lambda: 7, r"data \(int\) gave a int; allowed: batches"),
        (lambda: {"training": (X, Y)}, "gave a dict of training; allowed: train, val, test"),
        (lambda: [{"image": X}], "gave a dict; allowed: numpy arrays or torch tensors"),
    ],
)
def test_what_is_no_data_is_told(given: Callable[[], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        from_python(given(), Preprocess(), tmp_path)


class Keyed(Pairs):
    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return {"pixel_values": x, "labels": y}


@pytest.mark.parametrize(
    "given", [Keyed, lambda: data.DataLoader(Keyed(), batch_size=5), lambda: [{"x": X, "Label": Y}]]
)
def test_a_sample_may_be_a_dict_of_an_input_and_a_label(given: Callable[[], Any], tmp_path: Path) -> None:
    source = from_python(given(), Preprocess(), tmp_path)
    np.testing.assert_array_equal(source.take(np.arange(len(source))).inputs[0], X)
    np.testing.assert_array_equal(source.labels, Y)


def test_a_random_dict_is_refused_as_a_random_pair_is(tmp_path: Path) -> None:
    class Random(Keyed):
        def __getitem__(self, index: int) -> Any:
            return {"x": torch.rand(3), "y": 0}

    with pytest.raises(DataError, match="sample 0 is another one when it is read again"):
        from_python(Random(), Preprocess(), tmp_path)


def test_the_order_of_two_inputs_is_not_guessed_from_a_dict(tmp_path: Path) -> None:
    batch = {"input_ids": X, "attention_mask": X, "label": Y}
    with pytest.raises(
        DataError, match=r'keys are input_ids.*give \(\(sample\["input_ids"\], .*forward..\'s order'
    ):
        from_python([batch], Preprocess(), tmp_path)


def test_pictures_are_to_be_made_numbers(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image").fromarray(np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"gave a Image; allowed: numpy arrays or torch tensors; .*ToTensor"):
        from_python([(image, 0)], Preprocess(), tmp_path)
