"""A job as a board gets it: files by what they hold, under names that are the same whenever the content is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.devices.address import Address
from edgekit.devices.ssh.code import board_code
from edgekit.errors import StageError
from edgekit.files import sha256_file

__all__ = ["Parcel", "PushedFile", "checked_name", "pack_job", "read_pushed"]


@dataclass(frozen=True)
class PushedFile:
    """A file of this machine that a job may name. `digest`: its SHA-256."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Parcel:
    """`files`: name in the job's folder → what lies there. `outputs`: folder in the job's → the caller's name.

    `key` tells jobs of other content apart, and is the same for the same content.
    """

    job: Mapping[str, Any]
    files: Mapping[str, PushedFile]
    outputs: Mapping[str, str]
    key: str

    def caller_name(self, name: str) -> str:
        """The name that the caller knows an output of the board by."""
        for folder, theirs in self.outputs.items():
            if name.startswith(f"{folder}/"):
                return f"{theirs}/{name[len(folder) + 1 :]}"
        return name


def checked_name(name: str) -> str:
    """The name. Raises ValueError where it is not a relative one that stays inside the work folder."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"{name!r} is not a relative name inside the work folder")
    return str(pure)


def read_pushed(files: Sequence[tuple[Path, str]]) -> dict[str, PushedFile]:
    """Name → file, with each file's hash. Raises ValueError for a name outside, OSError."""
    known: dict[Path, str] = {}
    pushed = {}
    for path, name in files:
        if path not in known:
            known[path] = sha256_file(path)
        pushed[checked_name(name)] = PushedFile(path, known[path])
    return pushed


def pack_job(job: Mapping[str, Any], pushed: Mapping[str, PushedFile], address: Address) -> Parcel:
    """The job with the board's names. Raises StageError where it names a file that was not pushed."""
    files: dict[str, PushedFile] = {}
    outputs: dict[str, str] = {}

    def place(name: str) -> str:
        """An array, named by what it holds."""
        if name not in pushed:
            raise StageError("measure", f"the job names {name}, which was not pushed")
        file = pushed[name]
        there = f"in/{file.digest[:32]}{PurePosixPath(name).suffix}"
        files[there] = file
        return there

    entries = []
    for index, entry in enumerate(job["entries"]):
        folder = str(PurePosixPath(entry["path"]).parent)
        inside = "" if folder == "." else f"{folder}/"
        for name, file in pushed.items():
            if name.startswith(inside):
                files[f"e/{index}/{name[len(inside) :]}"] = file
        packed = {**entry, "path": f"e/{index}/{PurePosixPath(entry['path']).name}"}
        if entry.get("feeds"):
            packed["feeds"] = {key: place(name) for key, name in entry["feeds"].items()}
        if entry.get("evaluate"):
            outputs[f"out/{index}"] = entry["evaluate"]["outputs"]
            inputs = {key: place(name) for key, name in entry["evaluate"]["inputs"].items()}
            packed["evaluate"] = {"inputs": inputs, "outputs": f"out/{index}"}
        entries.append(packed)
    whole = {**job, "entries": entries, "result": "result.json"}
    if whole.get("energy") and not whole["energy"].get("meter"):
        whole["energy"] = {**whole["energy"], "meter": list(address.meter)}
    return Parcel(whole, files, outputs, _key(whole, files, address))


def _key(job: Mapping[str, Any], files: Mapping[str, PushedFile], address: Address) -> str:
    """Over all that a result depends on, but the time that it may take."""
    content = [
        job,
        {name: file.digest for name, file in files.items()},
        board_code().digest,
        address.python,
        address.before,
        address.after,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
