"""One entry on disk: `files/` with what the stage wrote, and `meta.json` that knows every file's hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import StoreError
from edgekit.files import is_safe, sha256_file
from edgekit.store.claim import is_plain_file
from edgekit.store.disk import sync_file, sync_folder, write_durably
from edgekit.store.keys import STORE_VERSION, canonical_json, plain

__all__ = ["DamagedError", "StoreEntry", "meta_of", "read_entry", "seal"]

HERE = "entry://"
"""Stands in meta.json for the entry's own folder, so that a store can be moved."""


@dataclass(frozen=True)
class StoreEntry:
    """A finished stage: `path` holds its files, `meta` is what `make` returned, making it took `seconds`."""

    path: Path
    meta: Mapping[str, Any]
    reused: bool
    key: str
    seconds: float


class DamagedError(Exception):
    """An entry that is not as it was written; the message says in what. Never leaves the store."""


def seal(folder: Path, key: str, stage: str, parts: object, meta: object, seconds: float) -> None:
    """Write `folder/meta.json` over all of `folder/files`, and force everything to the disk.

    Raises StoreError for a link or another thing that is no plain file, TypeError for a meta that JSON
    cannot hold.
    """
    files = folder / "files"
    written = list(plain_files(files))
    for _, path in written:
        sync_file(path)
    body = {
        "version": STORE_VERSION,
        "key": key,
        "stage": stage,
        "parts": plain(parts),
        "files": [
            {"path": name, "size_bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for name, path in written
        ],
        "meta": _map_strings(plain(meta), lambda text: _relative(text, str(files))),
        "seconds": seconds,
    }
    document = {"digest": hashlib.sha256(canonical_json(body)).hexdigest(), "body": body}
    write_durably(folder / "meta.json", json.dumps(document, indent=1).encode("ascii"))
    for inner, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(inner))


def read_entry(folder: Path, key: str) -> StoreEntry:
    """The entry, after hashing all of it. Raises DamagedError, naming the file that is not as written."""
    if folder.is_symlink():
        raise DamagedError("its folder is a link")
    body = _read_body(folder / "meta.json")
    if body.get("key") != key:
        raise DamagedError("meta.json belongs to another entry")
    files = folder / "files"
    try:
        present = dict(plain_files(files))
    except (OSError, StoreError) as error:
        raise DamagedError(str(error)) from error
    for record in body["files"]:
        name = record["path"]
        if not is_safe(name):
            raise DamagedError(f"meta.json names {name!r}, which leads out of the entry")
        path = present.pop(name, None)
        if path is None:
            raise DamagedError(f"{name} is missing")
        if path.stat().st_size != record["size_bytes"] or sha256_file(path) != record["sha256"]:
            raise DamagedError(f"{name} was changed")
    if present:
        raise DamagedError(f"{min(present)} was added")
    meta = _map_strings(body["meta"], lambda text: _absolute(text, str(files)))
    return StoreEntry(files, meta, True, key, body["seconds"])


def meta_of(file: Path, stage: str) -> Mapping[str, Any] | None:
    """The meta of the entry that a file belongs to; None for a file of no intact entry of that stage."""
    try:
        body = _read_body(file.absolute().parent.parent / "meta.json")
    except DamagedError:
        return None
    known = any(record["path"] == file.name for record in body["files"])
    return body["meta"] if body["stage"] == stage and known else None


def plain_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name in the folder, with slashes; path), sorted. Raises StoreError for links and devices."""
    if folder.is_symlink() or not folder.is_dir():
        raise StoreError(f"{folder.name} is not a folder")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"{name} is a link or a device: the store keeps plain files only")
        if path.is_file():
            yield name, path


def _read_body(path: Path) -> dict[str, Any]:
    if os.path.lexists(path) and not is_plain_file(path):
        raise DamagedError("meta.json is a link or a device")
    try:
        document = json.loads(path.read_bytes())
        body = document["body"]
        intact = document["digest"] == hashlib.sha256(canonical_json(body)).hexdigest()
    except FileNotFoundError as error:
        raise DamagedError("meta.json is missing") from error
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DamagedError("meta.json cannot be read") from error
    if not intact or not isinstance(body, dict):
        raise DamagedError("meta.json was changed")
    return body


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    return value


def _relative(text: str, files: str) -> str:
    if text.startswith(HERE):
        raise ValueError(f"meta holds {text!r}: {HERE} is how the store itself writes an entry's folder")
    if text == files or text.startswith(files + os.sep):
        return HERE + text[len(files) :].replace(os.sep, "/")
    return text


def _absolute(text: str, files: str) -> str:
    return files + text[len(HERE) :].replace("/", os.sep) if text.startswith(HERE) else text
