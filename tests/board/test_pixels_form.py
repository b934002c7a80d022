"""Sizes in pixels as a manifest holds them: the shorter side, or width and height."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from edgekit.board.manifest import PIXELS
from edgekit.types import Preprocess


@pytest.mark.parametrize("given", [None, 352, (640, 480)])
def test_every_size_that_preprocessing_may_have_is_read(given: Any) -> None:
    """A bundle whose images become width x height was refused on the board."""
    written = json.loads(json.dumps(asdict(Preprocess("nhwc", resize=given, crop=given))))
    for key in ("resize", "crop"):
        PIXELS(written[key], key)


@pytest.mark.parametrize("given", [0, 1.5, "352", True, [], [352], [352, 0], [1, 2, 3], [352, None], 1 << 21])
def test_what_is_no_size_is_told(given: Any) -> None:
    with pytest.raises(ValueError, match=r"resize.* allowed: "):
        PIXELS(given, "resize")
