"""What travels with a task: the files that it names, by content, and back the files that it made.

A task names its files by their paths here. A worker puts what came beside each other as it lay, and is told the task
with its own paths; in what it answers they are the paths here again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from edgekit.building.worker import Message
from edgekit.errors import ModelError, StageError
from edgekit.files import sha256_file
from edgekit.graph.proto import external_files
from edgekit.store import is_store
from edgekit.types import FileHash

__all__ = ["Folder", "Request", "content_of", "folders_of", "pack", "replaced", "stores_of", "unpack"]

HEAD_BYTES = 8


@dataclass(frozen=True)
class Folder:
    """Files that lie together: `path` is where they lie here, each file's own path is relative to it.

    `named`: what of it the task names, relative too; "." for the folder.
    """

    path: str
    files: tuple[FileHash, ...]
    named: tuple[str, ...]

    def places(self, there: str) -> dict[str, str]:
        """Path here → path there, of what the task names."""
        return {
            os.path.normpath(os.path.join(self.path, name)): os.path.normpath(os.path.join(there, name))
            for name in self.named
        }


@dataclass(frozen=True)
class Request:
    """One task as it goes to a worker. The files' contents come beside it, in the order of `folders`.

    `in_place`: what has to lie at the same path there, since it is too large, or is code of the user's. `stores`:
    folders for which the worker's own store stands in. `store`: where that is; "": in the worker's temporary folder.
    `log`: of this machine, where what libraries say ends up. `environment`: variables that limit what a worker may use.
    """

    message: Message
    folders: tuple[Folder, ...]
    in_place: tuple[str, ...]
    stores: tuple[str, ...]
    store: str
    log: str
    timeout_s: float | None
    environment: Mapping[str, str]


def texts_in(value: Any) -> set[str]:
    """Every text in what JSON holds; keys are not looked at."""
    if isinstance(value, str):
        return {value}
    parts = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    )
    return set().union(*map(texts_in, parts))


def folders_of(task: Any, in_place: Sequence[str]) -> tuple[Folder, ...]:
    """The files that a task (as builtins) names by absolute paths, those of a folder it names, and external data.

    Raises StageError for one that cannot be read.
    """
    files: dict[Path, set[str]] = {}
    named: dict[Path, list[str]] = {}
    for text in sorted(texts_in(task)):
        if not os.path.isabs(text) or text in in_place:
            continue
        path = Path(text)
        if path.is_dir() and not is_store(path):
            inside = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
            files.setdefault(path, set()).update(file.relative_to(path).as_posix() for file in inside)
            named.setdefault(path, []).append(".")
        elif path.is_file():
            files.setdefault(path.parent, set()).update((path.name, *beside(path)))
            named.setdefault(path.parent, []).append(path.name)
    try:
        return tuple(
            Folder(str(folder), tuple(hashed(folder, name) for name in sorted(names)), tuple(named[folder]))
            for folder, names in files.items()
        )
    except OSError as error:
        raise StageError("carrying", f"{error.filename} cannot be read: {error.strerror}") from error


def beside(path: Path) -> tuple[str, ...]:
    """The files that an ONNX file keeps its values in, relative to its folder; its reader tells what is wrong in it."""
    if path.suffix != ".onnx":
        return ()
    try:
        return tuple(file.relative_to(path.parent).as_posix() for file in external_files(path))
    except ModelError:
        return ()


def stores_of(task: Any) -> tuple[str, ...]:
    """The stores that a task (as builtins) names."""
    return tuple(sorted(text for text in texts_in(task) if os.path.isabs(text) and is_store(Path(text))))


def hashed(folder: Path, name: str) -> FileHash:
    """A file of a folder."""
    file = folder / name
    return FileHash(name, sha256_file(file), file.stat().st_size)


def replaced(value: Any, places: Mapping[str, str]) -> Any:
    """The same with paths in its texts replaced, whole paths only, also where they are a part of a text."""
    if not places:
        return value
    longest_first = sorted(places, key=len, reverse=True)
    pattern = re.compile(f"(?<![\\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\\w-]|\\.\\w)")

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            return pattern.sub(lambda match: places[match[0]], part)
        if isinstance(part, Mapping):
            return {name: walk(inner) for name, inner in part.items()}
        return [walk(inner) for inner in part] if isinstance(part, (list, tuple)) else part

    return walk(value)


def pack(reply: bytes, log: str, folder: Path) -> bytes:
    """A worker's reply, what its libraries said, and the files of a folder, as one piece."""
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink()
    )
    files = [hashed(folder, name) for name in names]
    head = msgspec.json.encode({"reply": msgspec.Raw(reply), "log": log, "files": files})
    contents = [(folder / name).read_bytes() for name in names]
    return b"".join((len(head).to_bytes(HEAD_BYTES, "big"), head, *contents))


@dataclass(frozen=True)
class Head:
    """What stands before the contents."""

    reply: msgspec.Raw
    log: str
    files: tuple[FileHash, ...]


def unpack(packed: bytes, folder: Path, stage: str) -> tuple[bytes, str]:
    """Write the files into `folder`; gives the reply and the log. What came is believed only as far as it proves it.

    Raises StageError for content that is not what its digest says, and for a file that would lie elsewhere.
    """
    try:
        begin = HEAD_BYTES + int.from_bytes(packed[:HEAD_BYTES], "big")
        head = msgspec.json.decode(packed[HEAD_BYTES:begin], type=Head)
    except (msgspec.MsgspecError, OverflowError) as error:
        raise StageError(stage, f"what a worker of the cluster sent cannot be read: {error}") from error
    view, place = memoryview(packed), begin
    for file in head.files:
        content = content_of(file, view[place : place + file.size_bytes], stage)
        place += file.size_bytes
        target = folder / inside(file.path, stage)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    if place != len(packed):
        raise StageError(stage, f"a worker of the cluster sent {len(packed)} bytes and named {place}")
    return bytes(head.reply), head.log


def content_of(file: FileHash, content: bytes | memoryview, stage: str) -> bytes | memoryview:
    """The content, once it is what its digest says. Raises StageError."""
    if len(content) != file.size_bytes or hashlib.sha256(content).hexdigest() != file.sha256:
        raise StageError(stage, f"{file.path} came damaged: its digest does not match", "run it again")
    return content


def inside(name: str, stage: str) -> PurePosixPath:
    """A relative path that stays in its folder. Raises StageError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or "\\" in name:
        raise StageError(stage, f"a worker of the cluster sent a file named {name!r}")
    return path
