"""The folder board/ as what a board is sent: its files, and the digest that its place there is named by."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekit import board

__all__ = ["BoardCode", "arrival_program", "board_code"]


@dataclass(frozen=True)
class BoardCode:
    """`files`: (name, bytes, SHA-256), in the order of `packed`, which is zlib of all of them."""

    digest: str
    files: tuple[tuple[str, int, str], ...]
    packed: bytes


@cache
def board_code() -> BoardCode:
    """This edgekit's own."""
    folder = Path(board.__file__).parent
    sources = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}
    files = tuple(
        (name, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(sources.items())
    )
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:32]
    return BoardCode(digest, files, zlib.compress(b"".join(sources[name] for name, *_ in files)))


@cache
def arrival_program() -> str:
    """`board/arrive.py` as one line for `python3 -c`, which every login shell leaves as it is."""
    source = (Path(board.__file__).parent / "arrive.py").read_bytes()
    packed = base64.b64encode(zlib.compress(source, 9)).decode()
    return f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')).decode())"
