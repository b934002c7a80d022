"""Arrays that grow row by row in a file: their room is taken before the first row."""

import os
from typing import Any, Tuple

from numpy.lib.format import open_memmap


def new_array(path: str, dtype: Any, shape: Tuple[int, ...]) -> Any:
    """An array in a new .npy file, to be filled in place. Raises OSError when the disk has no room for all of it.

    A file that is only mapped takes its room page by page, and a process that writes to a page for which there is none
    is killed (SIGBUS) without a word.
    """
    array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        handle = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(handle, 0, os.fstat(handle).st_size)
        finally:
            os.close(handle)
    return array
