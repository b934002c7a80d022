"""Token ids and the masks beside them: what no vocabulary has is told before a runtime makes something of it.

The same for samples in service: `board/whole.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.board.whole import ATTENTION_MASK, first_outside
from edgekit.data.rows import chunks
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.data.base import DataSource

__all__ = ["ATTENTION_MASK", "check_tokens"]

CHUNK_BYTES = 16 << 20


def check_tokens(
    source: DataSource, names: Sequence[str], vocabularies: Mapping[str, int], floats: Collection[str] = ()
) -> None:
    """Each id has to be one of the network's, and a mask of whole numbers holds 0 and 1.

    `names`: of the inputs, in the order of the source. `vocabularies`: input → rows of the table that it picks from.
    `floats`: inputs that the network itself takes as floats: their ids may be some.
    Raises DataError for the first that is not so, with sample, value and the number of rows.
    """
    sample = source.take(np.zeros(1, np.int64)).inputs
    looked_at = [
        place
        for place, name in enumerate(names[: len(sample)])
        if name in vocabularies or (name == ATTENTION_MASK and sample[place].dtype.kind in "iu")
    ]
    if not looked_at:
        return
    for place in looked_at:
        name, is_whole = names[place], sample[place].dtype.kind in "iu"
        if name in vocabularies and not is_whole and name not in floats:
            raise _no_ids(source.name, names[place], sample[place].dtype)
    size = max(1, CHUNK_BYTES // max(1, sum(array.nbytes for array in sample)))
    for indices in chunks(len(source), size):
        inputs = source.take(indices).inputs
        for place in looked_at:
            count = vocabularies.get(names[place])
            _check(source.name, names[place], inputs[place], indices, 2 if count is None else count)


def _check(name: str, port: str, values: NDArray[np.generic], indices: NDArray[np.int64], count: int) -> None:
    outside = first_outside(values, count)
    if outside is None:
        return
    row, value = outside
    if port == ATTENTION_MASK:
        raise DataError(
            f"{name}: sample {int(indices[row])} has {value} in {port}",
            allowed="1 where a token is, 0 where none is",
            remedy="are the inputs in the order in which the network takes them?",
        )
    raise DataError(
        f"{name}: sample {int(indices[row])} has token id {value} in {port}, the network's embedding has {count} rows",
        allowed=f"0 to {count - 1}",
        remedy="is this the tokenizer that the network was trained with?",
    )


def _no_ids(name: str, port: str, dtype: np.dtype[np.generic]) -> DataError:
    return DataError(
        f"{name}: the token ids of {port} are {dtype}",
        allowed="whole numbers",
        remedy="store them with ids.astype(numpy.int64), and leave out --scale, --mean and --std",
    )
