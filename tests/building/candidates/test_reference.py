"""The original is judged before anything is compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.building.candidates.reference import told_weakness
from edgekit.building.given import GivenModel
from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.devices import SampleFiles
from edgekit.errors import UserError
from edgekit.model import ModelRef
from edgekit.types import Artifact, FileHash
from tests.building.parts import bench, opened_cache

FACTORY = GivenModel(ModelRef("factory", "net.py:make", None, "digest"), None, "net.py:make")
FILE = GivenModel(ModelRef("onnx", "net.onnx", None, "digest"), None, "net.onnx")


@pytest.fixture
def evaluator(tmp_path: Path) -> Iterator[Evaluator]:
    """On a board that answers class 0 of ten to everything."""
    with opened_cache(tmp_path / "store") as cache:
        yield Evaluator(cache, bench(tmp_path / "board"), None)


@pytest.fixture
def reference(tmp_path: Path) -> Artifact:
    (tmp_path / "m.onnx").write_bytes(b"made up")
    files = (FileHash("m.onnx", "sum", 7),)
    return Artifact("original-ort-fp32", "onnxruntime", str(tmp_path), "m.onnx", files, 7, 0.1)


def split(folder: Path, labels: np.ndarray | None) -> SplitFiles:
    path = folder / "in.npy"
    values = np.zeros((40, 2), np.float32)
    np.save(path, values)
    return SplitFiles("validation", "digest", SampleFiles({"in": path}, {"in": values[:1]}, labels, 40))


def test_a_guess_is_refused_with_what_to_look_at(
    evaluator: Evaluator, reference: Artifact, tmp_path: Path
) -> None:
    samples = split(tmp_path, np.arange(40) % 10)
    with pytest.raises(UserError, match=r"no --weights is given.*--allow-weak-original") as caught:
        told_weakness(evaluator, reference, samples, FACTORY, allowed=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError) as caught:
        told_weakness(evaluator, reference, samples, FILE, allowed=False)
    assert "--weights" not in str(caught.value)


def test_a_guess_that_is_allowed_is_a_warning(
    evaluator: Evaluator, reference: Artifact, tmp_path: Path
) -> None:
    (warning,) = told_weakness(
        evaluator, reference, split(tmp_path, np.arange(40) % 10), FACTORY, allowed=True
    )
    assert "does not do its task on the validation split: top1 is 10.00 %" in warning


def test_without_labels_a_factory_without_weights_is_a_warning(
    evaluator: Evaluator, reference: Artifact, tmp_path: Path
) -> None:
    samples = split(tmp_path, None)
    assert told_weakness(evaluator, reference, samples, FILE, allowed=False) == ()
    (warning,) = told_weakness(evaluator, reference, samples, FACTORY, allowed=False)
    assert "cannot be seen" in warning


def test_an_original_that_is_right_passes(evaluator: Evaluator, reference: Artifact, tmp_path: Path) -> None:
    labels = np.zeros(40, np.int64)
    assert told_weakness(evaluator, reference, split(tmp_path, labels), FACTORY, allowed=False) == ()
