"""Files that are whole or absent, and their SHA-256: the same on the board and where bundles are made."""

import contextlib
import json
import os
import tempfile
from typing import Any, Iterator, Union

PIECE_BYTES = 1 << 20  # memory stays flat in the file's size

Path = Union[str, "os.PathLike[str]"]


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes. Raises OSError when it cannot be read."""
    import hashlib  # here: it loads OpenSSL, some 3 MB that the peak of memory of a measured network would count

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(PIECE_BYTES), b""):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[str]:
    """The name of an empty file beside `path` to write into; it takes the place of `path` when the block ends well.

    When the block raises, the draft is gone and `path` is as it was. The content is on the disk before the name
    changes, so a reader finds all of it or what was there before, also when the power goes.
    """
    target = os.fspath(path)
    handle, draft = tempfile.mkstemp(dir=os.path.dirname(target) or ".", prefix=".part-")
    os.close(handle)
    try:
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _umask() -> int:
    """What new files of this process may not allow; mkstemp gives the owner alone."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_atomically(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    with atomic_path(path) as draft, open(draft, "wb") as file:
        file.write(content)


def is_safe(name: object) -> bool:
    """Whether a relative name, with slashes, stays inside its folder, on every system."""
    if not isinstance(name, str) or not name or any(character in name for character in "\\:\0"):
        return False
    return not set(name.split("/")) & {"", ".", ".."}


def read_json(path: Path) -> Any:
    """Raises OSError when it cannot be read, ValueError when it is no JSON."""
    with open(path, encoding="utf-8") as file:  # named: Python 3.6 without a locale takes ASCII
        return json.load(file)


def write_json(path: Path, value: Any) -> None:
    """Atomically, readable by people."""
    write_atomically(path, json.dumps(value, indent=1).encode("utf-8"))


def read_text(path: str) -> str:
    """What a file of /proc or /sys says, without the ends; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""
