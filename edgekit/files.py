"""Whole-or-absent files, their SHA-256, safe names (the rules stand in `board/files.py`), and full disks."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.board.files import atomic_path, is_safe, sha256_file, write_atomically
from edgekit.errors import OutputError

__all__ = [
    "atomic_path",
    "check_own_file",
    "expanded",
    "full_disk",
    "is_full",
    "is_safe",
    "is_starved",
    "may_write",
    "only_one_in",
    "sha256_file",
    "tells_full",
    "write_atomically",
]

PAGE_MARK = b'<meta name="generator" content="edgekit '
PAGE_HEAD_BYTES = 1000  # the mark stands at the very beginning of a page
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
STARVED_BYTES = 1 << 18
"""Less than this left: what fails in a library without a reason has failed for want of room."""


@contextmanager
def only_one_in(folder: Path) -> Iterator[None]:
    """One process at a time per folder: the others wait. The lock is the kernel's and leaves no file.

    Where folders cannot be locked (Windows), nothing is.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def may_write(path: Path) -> bool:
    """Whether this process may write there."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def expanded(path: str | Path) -> Path:
    """The path with `~` as the home folder; `~nobody`, whom this machine does not know, stays a plain name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_full(error: OSError) -> bool:
    """Whether the error says that there is no more room: the disk, a quota, or a limit on file size."""
    return error.errno in FULL


def tells_full(text: str) -> bool:
    """Whether what another process or a library said of its failure is that."""
    return any(os.strerror(number) in text or f"[Errno {number}]" in text for number in FULL)


def is_starved(folder: Path) -> bool:
    """Whether the folder's disk has no room left to speak of."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < STARVED_BYTES
    return False


def full_disk(folder: Path) -> OSError:
    """The error of a full disk, for what was told of in words only."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def check_own_file(path: Path) -> None:
    """Raises OutputError for a `result.json` or a page that edgekit did not write: those are not overwritten."""
    if not os.path.lexists(path) or (path.is_file() and not path.is_symlink() and _is_own(path)):
        return
    raise OutputError(f"{path} is there and is not of edgekit", remedy="move it away, or give another --out")


def _is_own(path: Path) -> bool:
    import msgspec

    if path.suffix != ".json":
        with path.open("rb") as file:
            return PAGE_MARK in file.read(PAGE_HEAD_BYTES)
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(content, dict) and {"schema", "verdict", "target", "budget"} <= content.keys()
