"""Token ids that no vocabulary has, ids that are floats, and masks that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.data import check_tokens, from_arrays
from edgekit.errors import DataError

IDS = np.random.default_rng(0).integers(0, 50, (300, 8))
MASK = np.ones((300, 8), np.int64)
NAMES = ("input_ids", "attention_mask")


def with_value(array: Any, sample: int, value: int) -> Any:
    changed = array.copy()
    changed[sample, 3] = value
    return changed


def source_of(*inputs: Any) -> Any:
    return from_arrays(inputs, np.arange(len(inputs[0])) % 2)


def test_ids_that_the_table_has_pass() -> None:
    check_tokens(source_of(IDS, MASK), NAMES, {"input_ids": 50})
    check_tokens(source_of(IDS.astype(np.float32)), ("x",), {})
    check_tokens(source_of(IDS.astype(np.int32), MASK.astype(np.float32)), NAMES, {"input_ids": 50})


def test_a_network_may_take_ids_as_floats() -> None:
    ids = IDS.astype(np.float32)
    check_tokens(source_of(ids), ("x",), {"x": 50}, floats=("x",))
    with pytest.raises(DataError, match=r"sample 137 has token id 50\.0 in x"):
        check_tokens(source_of(with_value(ids, 137, 50)), ("x",), {"x": 50}, floats=("x",))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (
            (with_value(IDS, 137, 50), MASK),
            "sample 137 has token id 50 in input_ids, the network's embedding has 50 rows; allowed: 0 to 49; is this",
        ),
        ((with_value(IDS, 17, -1), MASK), "sample 17 has token id -1 in input_ids"),
        (
            (IDS.astype(np.float32), MASK),
            "the token ids of input_ids are float32; allowed: whole numbers; store them",
        ),
        (
            (IDS, with_value(MASK, 299, 3)),
            "sample 299 has 3 in attention_mask; allowed: 1 where a token is, 0 where",
        ),
        ((MASK, IDS), r"in attention_mask; .*are the inputs in the order in which the network takes them"),
    ],
)
def test_what_no_table_has_is_told_with_its_sample(inputs: Any, told: str) -> None:
    with pytest.raises(DataError, match=told) as refused:
        check_tokens(source_of(*inputs), NAMES, {"input_ids": 50})
    assert "\n" not in str(refused.value)


def test_every_sample_is_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data.tokens.CHUNK_BYTES", 640)
    with pytest.raises(DataError, match="sample 299 has token id 77"):
        check_tokens(source_of(with_value(IDS, 299, 77), MASK), NAMES, {"input_ids": 50})
