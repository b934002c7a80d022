"""What sessions of all runtimes share."""

from __future__ import annotations

import numpy as np

from edgekit.board.session import random_feeds


def test_random_feeds_of_integer_inputs_are_whole() -> None:
    signature = {"inputs": [{"name": "ids", "dtype": "int64", "shape": [1, 7]}]}
    feeds = random_feeds(signature, 0)
    assert feeds["ids"].dtype == np.int64
    assert set(feeds["ids"].ravel()) <= {0, 1}
