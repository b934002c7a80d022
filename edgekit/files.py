"""Files off the board: whole or absent, their SHA-256, safe names (as `board/files.py` has it), and TOML."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from edgekit.board.files import atomic_path, is_safe, sha256_file, write_atomically
from edgekit.errors import MissingExtraError, UserError

__all__ = ["atomic_path", "is_safe", "read_toml", "sha256_file", "write_atomically"]

LARGEST_TOML_BYTES = 1 << 20
DEEPEST = 16  # tables within tables; ours have four


def read_toml(path: Path, error: type[UserError]) -> dict[str, Any]:
    """The tables of a TOML file. Raises `error` with one line for what is no TOML of a sane size, depth and numbers.

    Whole numbers have 64 bits, as TOML asks for; what is infinite or no number is refused, as nothing here can be.
    """
    import msgspec

    if path.exists() and not path.is_file():
        raise error(f"{path} is no plain file")
    try:
        if path.stat().st_size > LARGEST_TOML_BYTES:
            raise error(f"{path} has {path.stat().st_size} bytes", allowed=f"at most {LARGEST_TOML_BYTES}")
        content = msgspec.toml.decode(path.read_bytes().decode("utf-8"))
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text: byte {problem.start}") from problem
    except ImportError as problem:  # msgspec reads TOML with tomllib, on Python 3.10 with tomli
        raise MissingExtraError("tomli", "all") from problem
    except RecursionError as problem:
        raise error(f"{path} is not TOML: it is nested too deeply") from problem
    except (msgspec.DecodeError, ValueError, OverflowError) as problem:
        raise error(f"{path} is not TOML: {problem}") from problem
    _check_values(path, content, error)
    tables: dict[str, Any] = content
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
