from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.building.variants.base import MakerContext
from tests.building.variants.contexts import maker_context


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by a module's tests, so that what they make alike is made once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def context(store: Path) -> Iterator[MakerContext]:
    with maker_context(store) as made:
        yield made
