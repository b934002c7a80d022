"""Writing so that it lasts, and saying plainly when the disk is full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import StageError, StoreError
from edgekit.files import full_disk, is_full, is_starved, tells_full
from edgekit.store.claim import foreign

__all__ = ["full_disk_told", "remove_tree", "sync_file", "sync_folder", "write_durably"]


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """A full disk, and files of another user's, become one line (StoreError, OutputError); all other errors pass.

    So it does with a stage that failed for it in another process, which says so or dies without a word.
    """
    try:
        yield
    except StageError as error:
        if tells_full(error.cause) or is_starved(folder):
            raise _told(folder, full_disk(folder)) from error
        raise
    except PermissionError as error:
        raise foreign(folder, Path(os.fsdecode(error.filename or folder))) from error
    except OSError as error:
        if not is_full(error):
            raise
        raise _told(folder, error) from error


def _told(folder: Path, error: OSError) -> StoreError:
    free = 0
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
    return StoreError(
        f"{error.strerror} while writing to {folder} ({free / 1e6:.1f} MB free): free some space or give "
        "another --store; nothing half-written was kept, the same command goes on from there"
    )


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
