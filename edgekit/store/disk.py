"""Writing so that it lasts, and saying plainly when the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import StoreError

__all__ = ["full_disk_told", "is_full", "remove_tree", "sync_file", "sync_folder", "write_durably"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Whether the error says that there is no more room: the disk, a quota, or a limit on file size."""
    return error.errno in FULL


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turns an OSError of a full disk into a StoreError with one line; lets every other error pass."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        free = 0
        with suppress(OSError):
            free = shutil.disk_usage(folder).free
        raise StoreError(
            f"{error.strerror} while writing to {folder} ({free / 1e6:.1f} MB free): free some space or give "
            "another --store; nothing half-written was kept, the same command goes on from there"
        ) from error


def sync_file(path: Path) -> None:
    """Force a file that is already written to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and force it to the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names to the disk, where the system can."""
    with suppress(OSError, PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, if it is there; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
