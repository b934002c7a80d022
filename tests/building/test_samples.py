"""Splits as files, by their content and by what the network takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.building.samples import SampleStore
from edgekit.types import Signature, TensorSpec
from tests.building.parts import count_entries, digit_splits, opened_cache

SIGNATURE = Signature((TensorSpec("image", "float32", (1, 1, 8, 8)),), ())


def test_the_files_hold_the_split_in_its_order(tmp_path: Path) -> None:
    split = digit_splits().validation
    with opened_cache(tmp_path) as cache:
        files = SampleStore(cache).files(split, SIGNATURE)
        expected = split.source.take(split.indices)
        np.testing.assert_array_equal(np.load(files.paths[0]), expected.inputs[0])
        np.testing.assert_array_equal(files.files.labels, expected.labels)
        assert files.files.first["image"].shape == (1, 1, 8, 8)
        assert (files.split, files.digest) == ("validation", split.digest)


def test_a_split_is_read_once_in_a_run_and_written_once_in_a_store(tmp_path: Path) -> None:
    split = digit_splits().validation
    with opened_cache(tmp_path) as cache:
        samples = SampleStore(cache)
        assert samples.files(split, SIGNATURE) is samples.files(split, SIGNATURE)
        SampleStore(cache).files(split, SIGNATURE)
        assert count_entries(cache) == 1


def test_another_split_and_other_inputs_are_other_files(tmp_path: Path) -> None:
    splits = digit_splits()
    renamed = Signature((replace(SIGNATURE.inputs[0], name="pixels"),), ())
    with opened_cache(tmp_path) as cache:
        samples = SampleStore(cache)
        for split, signature in (
            (splits.validation, SIGNATURE),
            (splits.test, SIGNATURE),
            (splits.validation, renamed),
        ):
            assert tuple(samples.files(split, signature).files.inputs) == (signature.inputs[0].name,)
        assert count_entries(cache) == 3


def test_a_split_without_labels_has_none(tmp_path: Path) -> None:
    with opened_cache(tmp_path) as cache:
        files = SampleStore(cache).files(digit_splits(labelled=False).test, SIGNATURE)
    assert files.files.labels is None
