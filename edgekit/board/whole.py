"""Whole numbers that a network takes, such as token ids: what it would round, wrap or not find is told before it runs.

ONNX counts a negative id from its table's end, and some runtimes do not look at an id at all.
"""

from typing import Any, Optional, Tuple

import numpy as np

from .preprocess import SampleError

ATTENTION_MASK = "attention_mask"
"""What transformers call the input that says where a token is: 1 there, else 0."""


def first_outside(values: Any, count: int) -> Optional[Tuple[int, Any]]:
    """The first row of [N, ...] with a value outside of 0 to `count` - 1, and that value; None where there is none."""
    rows = values.reshape(len(values), -1)
    outside = (rows < 0) | (rows >= count)
    if not outside.any():
        return None
    row = int(outside.any(axis=1).argmax())
    return row, rows[row][outside[row]][0]


def refuse_rounding(name: str, values: Any, dtype: Any) -> None:
    """Raises SampleError where an input of whole numbers does not hold these values."""
    with np.errstate(all="ignore"):
        same = values.dtype == dtype or np.array_equal(values.astype(dtype).astype(values.dtype), values)
    if not same:
        raise SampleError(
            "input %s came as %s with values that are no %s" % (name, values.dtype, dtype),
            allowed="whole numbers that %s holds" % dtype,
        )


def refuse_unknown_ids(name: str, values: Any, count: Optional[int]) -> None:
    """`values` [N, ...]; `count`: rows of the table that an input picks from, None where it picks from none.

    Raises SampleError for an id that the table does not have, and for a mask of whole numbers other than 0 and 1.
    """
    is_mask = name == ATTENTION_MASK and values.dtype.kind in "iu"
    known = 2 if is_mask else count
    outside = None if known is None else first_outside(values, known)
    if known is None or outside is None:
        return
    if is_mask:
        raise SampleError(
            "input %s has %s" % (name, outside[1]), allowed="1 where a token is, 0 where none is"
        )
    raise SampleError(
        "input %s has token id %s, the network's embedding has %d rows" % (name, outside[1], known),
        allowed="0 to %d" % (known - 1),
        remedy="is this the tokenizer that the network was trained with?",
    )
