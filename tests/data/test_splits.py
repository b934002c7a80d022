from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.data import Split, Splits, from_arrays, make_splits
from edgekit.data.stored import StoredSource
from edgekit.errors import DataError

SIZES = {"train": 200, "val": 150, "test": 120}


def source(count: int, classes: int = 3, parts: dict[str, range] | None = None) -> StoredSource:
    labels = np.random.default_rng(1).integers(0, classes, count) if classes else None
    return from_arrays(np.arange(count, dtype=np.float32)[:, None], labels, parts=parts)


def declared(*names: str) -> StoredSource:
    parts: dict[str, range] = {}
    start = 0
    for name in names:
        parts[name] = range(start, start + SIZES[name])
        start += SIZES[name]
    return source(start, parts=parts)


def covered(splits: Splits) -> list[int]:
    return sorted(np.concatenate([split.indices for split in splits.all()]).tolist())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(70, 900),
    st.integers(0, 12),
    st.integers(0, 2**32 - 1),
    st.integers(16, 600),
)
def test_splits_are_disjoint_covering_and_deterministic(
    count: int, classes: int, seed: int, wanted: int
) -> None:
    data = source(count, classes)
    splits = make_splits(data, seed=seed, calibration_samples=wanted)
    assert covered(splits) == list(range(count))
    assert 16 <= len(splits.calibration) <= wanted
    again = make_splits(data, seed=seed, calibration_samples=wanted)
    assert [split.digest for split in splits.all()] == [split.digest for split in again.all()]


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.sampled_from(["train", "val", "test"]), min_size=1),
    st.integers(0, 1000),
)
def test_declared_parts_never_mix(names: set[str], seed: int) -> None:
    data = declared(*sorted(names))
    splits = make_splits(data, seed=seed)
    assert covered(splits) == list(range(len(data)))
    if "test" in names and "val" in names:
        assert sorted(splits.test.indices.tolist()) == list(data.parts["test"])[-len(splits.test) :]


@settings(max_examples=30, deadline=None)
@given(st.integers(200, 800), st.integers(2, 6), st.integers(0, 1000))
def test_every_split_has_each_class_in_its_share(count: int, classes: int, seed: int) -> None:
    data = source(count, classes)
    shares = np.bincount(data.labels, minlength=classes) / count
    for split in make_splits(data, seed=seed).all():
        found = np.bincount(split.labels, minlength=classes)
        assert np.all(np.abs(found - shares * len(split)) <= 2)


def test_another_seed_gives_other_splits() -> None:
    data = source(300)
    assert make_splits(data, seed=0).test.digest != make_splits(data, seed=1).test.digest


def test_calibration_comes_out_of_train() -> None:
    data = declared("train", "val", "test")
    splits = make_splits(data, seed=0)
    assert set(splits.calibration.indices) < set(data.parts["train"])
    assert splits.sizes() == {"train": 150, "calibration": 50, "validation": 150, "test": 120}


def test_calibration_comes_out_of_validation_without_train() -> None:
    data = declared("val", "test")
    splits = make_splits(data, seed=0)
    assert splits.train is None
    assert set(splits.calibration.indices) < set(data.parts["val"])


def test_validation_is_halved_without_test_and_that_is_told() -> None:
    splits = make_splits(declared("train", "val"), seed=0)
    assert (len(splits.validation), len(splits.test)) == (75, 75)
    assert "has no test part: half of val serves as test" in " ".join(splits.warnings)


def test_test_is_halved_without_validation_and_that_is_told() -> None:
    splits = make_splits(declared("train", "test"), seed=0)
    assert (len(splits.validation), len(splits.test)) == (60, 60)
    assert "half of test serves as val" in " ".join(splits.warnings)


def test_train_alone_is_divided_with_a_warning() -> None:
    assert "only a train part" in " ".join(make_splits(declared("train"), seed=0).warnings)


def test_digits_give_at_least_128_calibration_samples() -> None:
    splits = make_splits(source(1797, 10), seed=0)
    assert len(splits.calibration) >= 128
    assert splits.warnings == ()


def test_fewer_than_16_calibration_samples_are_an_error() -> None:
    with pytest.raises(DataError, match="leaves 15 for calibration; allowed: 16 or more"):
        make_splits(source(62), seed=0)


def test_asking_for_fewer_than_16_is_an_error() -> None:
    with pytest.raises(DataError, match="15 calibration samples asked for; allowed: 16 or more"):
        make_splits(source(1000), seed=0, calibration_samples=15)


def test_fewer_than_128_calibration_samples_are_a_warning() -> None:
    assert "only 75 calibration samples" in make_splits(source(300), seed=0).warnings[0]


def test_overlapping_splits_are_refused() -> None:
    data = source(100)
    one, other = (Split(name, data, np.arange(10)) for name in ("validation", "test"))
    with pytest.raises(DataError, match="validation and test share samples"):
        Splits(None, Split("calibration", data, np.arange(20, 40)), one, other)


def test_overlapping_parts_are_refused() -> None:
    with pytest.raises(DataError, match="train and val share samples"):
        make_splits(source(300, parts={"train": range(200), "val": range(199, 300)}), seed=0)


def test_parts_beyond_the_source_are_refused() -> None:
    with pytest.raises(DataError, match="reaches beyond its 300 samples"):
        make_splits(source(300, parts={"train": range(200), "val": range(200, 301)}), seed=0)


def test_batches_stream_every_sample_once() -> None:
    split = make_splits(source(300), seed=0).test
    batches = list(split.batches(32))
    assert [len(batch.inputs[0]) for batch in batches] == [32, 28]
    assert np.array_equal(np.concatenate([batch.inputs[0][:, 0] for batch in batches]), split.indices)


def test_shuffled_batches_hold_the_same_samples_in_another_order() -> None:
    split = make_splits(source(300), seed=0).test
    plain, one, again, other = (
        np.concatenate([batch.inputs[0][:, 0] for batch in split.batches(16, shuffle_seed=seed)]).tolist()
        for seed in (None, 1, 1, 2)
    )
    assert one == again
    assert one != other
    assert sorted(one) == sorted(plain)


def test_limit_takes_the_first_samples() -> None:
    split = make_splits(source(300), seed=0).test
    assert sum(len(batch.inputs[0]) for batch in split.batches(16, limit=20)) == 20


def test_unlabelled_sources_are_split_too() -> None:
    splits = make_splits(source(300, classes=0), seed=0)
    assert not splits.test.labelled
    assert splits.test.labels is None
    assert next(splits.test.batches(4)).labels is None
