"""Services that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import artifact_of, bundle_of
from tests.serving.services import Asked, dense_bundle, served, words_bundle


@pytest.fixture(scope="package")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images [4, 4, 2] of uint8; scores of three classes."""
    folder = tmp_path_factory.mktemp("tiny")
    return bundle_of(artifact_of("onnxruntime", folder / "artifact"), folder / "bundle")


@pytest.fixture(scope="package")
def tiny(tiny_bundle: Path) -> Iterator[Asked]:
    with served(tiny_bundle) as asked:
        yield asked


@pytest.fixture(scope="package")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense_bundle(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="package")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with served(words_bundle(tmp_path_factory.mktemp("words"))) as asked:
        yield asked


@pytest.fixture(scope="package")
def dense(dense_folder: Path) -> Iterator[Asked]:
    with served(dense_folder) as asked:
        yield asked
