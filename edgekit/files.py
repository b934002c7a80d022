"""Whole-or-absent files, their SHA-256, safe names (the rules stand in `board/files.py`), full disks, and TOML."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgekit.board.files import atomic_path, is_safe, sha256_file, write_atomically
from edgekit.errors import MissingExtraError, OutputError, UserError

__all__ = [
    "atomic_path",
    "check_own_file",
    "decode_toml",
    "expanded",
    "full_disk",
    "is_full",
    "is_safe",
    "is_starved",
    "may_write",
    "only_one_in",
    "read_toml",
    "sha256_file",
    "tells_full",
    "write_atomically",
]

PAGE_MARK = b'<meta name="generator" content="edgekit '
PAGE_HEAD_BYTES = 1000  # the mark stands at the very beginning of a page
LARGEST_TOML_BYTES = 1 << 20
DEEPEST = 16  # tables within tables; ours have four

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


def read_toml(path: Path, error: type[UserError]) -> dict[str, Any]:
    """The tables of a TOML file. Raises `error` with one line for what is no TOML of a sane size, depth and numbers.

    Whole numbers have 64 bits, as TOML asks for; what is infinite or no number is refused, as nothing here can be.
    """
    tables = decode_toml(path, str(path), error)
    _check_values(path, tables, error)
    return tables


def decode_toml(path: Path, name: str, error: type[UserError]) -> dict[str, Any]:
    """The tables of a TOML file, whatever stands in them; `name` is what messages call it.

    Raises `error` with one line for what cannot be read or is no TOML of a sane size.
    """
    import msgspec

    if path.exists() and not path.is_file():
        raise error(f"{name} is no plain file")
    try:
        if path.stat().st_size > LARGEST_TOML_BYTES:
            raise error(f"{name} has {path.stat().st_size} bytes", allowed=f"at most {LARGEST_TOML_BYTES}")
        tables: dict[str, Any] = msgspec.toml.decode(path.read_bytes().decode("utf-8"))
    except OSError as problem:
        raise error(f"{name} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{name} is not UTF-8 text: byte {problem.start}") from problem
    except ImportError as problem:  # msgspec reads TOML with tomllib, on Python 3.10 with tomli
        raise MissingExtraError("tomli", "all") from problem
    except RecursionError as problem:
        raise error(f"{name} is not TOML: it is nested too deeply") from problem
    except (msgspec.DecodeError, ValueError, OverflowError) as problem:
        raise error(f"{name} is not TOML: {problem}") from problem
    return tables


def _check_values(path: Path, content: object, error: type[UserError]) -> None:
    pending: list[tuple[str, object, int]] = [("", content, 0)]
    while pending:
        key, value, depth = pending.pop()
        if depth > DEEPEST:
            raise error(f"{path}: {key} is nested too deeply", allowed=f"{DEEPEST} levels")
        if isinstance(value, dict):
            pending += [(f"{key}.{name}" if key else name, item, depth + 1) for name, item in value.items()]
        elif isinstance(value, list):
            pending += [(f"{key}[{index}]", item, depth + 1) for index, item in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise error(f"{path}: {key}: {value}", allowed="a finite number")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise error(f"{path}: {key}: a number of {value.bit_length()} bits", allowed="at most 64 bits")
