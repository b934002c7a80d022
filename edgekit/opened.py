"""Files that a function of the user's opens while it runs: what it computes depends on them as on its arguments.

Python tells an audit hook of every file that it opens, NumPy's, PIL's and torch.load's included. What a library opens
by itself, in C or Rust, it does not hear of: `native_files` finds those that the source names as a text.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.reference import is_installed

__all__ = ["FileWatch", "digests_now", "merged", "native_files"]

NATIVE = (".safetensors", ".h5", ".hdf5", ".parquet", ".arrow", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Suffixes of what safetensors, h5py, pyarrow and OpenCV open without Python's knowledge."""

Signature = tuple[int, int, int, int]
"""Device, inode, size in bytes, time of the last change in ns: equal ones are taken to be the same content."""

current = threading.local()
lasting: WeakKeyDictionary[Callable[..., Any], dict[str, str]] = WeakKeyDictionary()
"""What a live function has read so far: it may keep that in memory, and not open it again."""


@dataclass
class WatchedCall:
    """One call: files opened for reading, with what they were then, and those that it wrote."""

    read: dict[str, Signature] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def __enter__(self) -> WatchedCall:
        install()
        self._outer = getattr(current, "session", None)
        current.session = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        current.session = self._outer


class FileWatch:
    """Which files functions read, over all their calls; `files`: path → SHA-256 of what was read.

    Not: what the functions write themselves, installed packages, Python's own files, and what is no plain file.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._known: dict[str, Signature] = {}
        self._written: set[str] = set()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched while it runs. The result raises StageError when a file changes between its calls."""
        try:
            kept = lasting.setdefault(function, {})
        except TypeError:  # an object that nothing can refer to weakly
            kept = {}
        self.files.update(kept)

        @functools.wraps(function, updated=())
        def watched(*arguments: Any, **named: Any) -> Any:
            with WatchedCall() as session:
                answer = function(*arguments, **named)
            self._take(session)
            kept.update(self.files)
            return answer

        return watched

    def recall(self, files: Mapping[str, str]) -> None:
        """What an earlier sitting has read. Raises StageError as the watched function does."""
        self.files = merged(self.files, files)

    def _take(self, session: WatchedCall) -> None:
        self._written |= session.written
        for path in session.written:
            self.files.pop(path, None)
        for path, then in session.read.items():
            if path in self._written or self._known.get(path) == then:
                continue
            digest = digest_of(path)
            if not digest:
                continue  # a temporary file that is gone
            if signature(path) != then:
                raise changed(path)
            if path in self._known:
                self.files = merged(self.files, {path: digest})
            self.files[path] = digest
            self._known[path] = then


def merged(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Both, path → SHA-256. Raises StageError where one file had two contents."""
    for path, digest in second.items():
        if first.get(path, digest) != digest:
            raise changed(path)
    return {**first, **second}


def changed(path: str) -> StageError:
    """A file that was not the same all the time."""
    return StageError(
        "finetune", f"{path} was changed while training read it", "leave it as it is, and run the build again"
    )


def digests_now(paths: Iterable[str]) -> dict[str, str]:
    """Path → SHA-256 of what lies there; "" where no file can be read."""
    return {path: digest_of(path) for path in paths}


def native_files(sources: Iterable[Path]) -> tuple[Path, ...]:
    """Files of the suffixes NATIVE that Python sources name in a text, beside them or in the working folder, sorted."""
    paths: set[Path] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_bytes())):
            text = node.value if isinstance(node, ast.Constant) else None
            if not isinstance(text, str) or not text.lower().endswith(NATIVE) or "\0" in text:
                continue
            places = (Path(text).expanduser().absolute(), source.parent / text)
            paths |= {place for place in places if len(text) < 4096 and place.is_file()}
    return tuple(sorted(paths))


def digest_of(path: str) -> str:
    try:
        return sha256_file(path) if stat.S_ISREG(os.stat(path).st_mode) else ""
    except OSError:
        return ""


def signature(path: str) -> Signature | None:
    """Of a plain file; None for anything else."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


@functools.cache
def install() -> None:
    """A hook stays for the life of the process; it does nothing outside of a session."""
    sys.addaudithook(heard)


def heard(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook; "open" comes with (path, mode, flags), also from os.open. It must not raise."""
    if event != "open":
        return
    session: WatchedCall | None = getattr(current, "session", None)
    if session is None or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    path = source_of(os.path.abspath(os.fsdecode(arguments[0])))
    flags = arguments[2] if isinstance(arguments[2], int) else 0
    if flags & (os.O_WRONLY | os.O_RDWR):
        session.written.add(path)
    elif path not in session.read and not is_own(path):
        then = signature(path)
        if then is not None:
            session.read[path] = then


def source_of(path: str) -> str:
    """A module's source in the place of its bytecode."""
    if not path.endswith(".pyc"):
        return path
    try:
        return importlib.util.source_from_cache(path)
    except ValueError:
        return path


def is_own(path: str) -> bool:
    """Whether a file belongs to Python, a package or edgekit, whose versions are in the keys, or to the kernel."""
    file = Path(path).resolve()
    package = Path(__file__).resolve().parent
    return is_installed(file) or file.is_relative_to(package) or path.startswith(("/proc/", "/sys/", "/dev/"))
