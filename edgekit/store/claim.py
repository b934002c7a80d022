"""Whose a folder is: edgekit deletes only in what it can prove it made, and follows no link there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from edgekit.errors import OutputError
from edgekit.files import may_write

__all__ = ["IGNORE", "claim_folder", "foreign", "is_plain_file", "is_plain_folder", "is_store"]

MARKER = ".edgekit-store"
"""The first file of every store. Its name is the proof: what it says is for people."""
MEANING = (
    "This folder is a store of edgekit, which adds and deletes files here. It is safe to delete as a whole.\n"
)
FOLDERS = ("objects", "scratch", "temp", "locks")
ELSEWHERE_MADE = ("spool",)  # folders that stages make beside these
FILES = (MARKER, ".gitignore", "export.log", "runs.sqlite", "runs.sqlite-wal", "runs.sqlite-shm")
IGNORE = "# Made by edgekit; safe to delete.\n*\n"


def claim_folder(folder: Path) -> None:
    """Make an absent or empty folder a store, or see that it is one.

    A store of before there were markers is known by its folders and its .gitignore, and gets its marker. Raises
    OutputError for any other folder and for a store in which a link or a device stands for a part of it, OSError
    when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = set(os.listdir(folder))  # one look: whoever makes a store writes the marker first
    if names and MARKER not in names and not _is_unmarked_store(folder):
        raise OutputError(
            f"{folder} is there and is not a store of edgekit",
            remedy="give --store DIR, a new or an empty folder",
        )
    with suppress(FileExistsError), (folder / MARKER).open("x", encoding="utf-8") as file:
        file.write(MEANING)
    for name in FOLDERS:
        with suppress(FileExistsError):
            (folder / name).mkdir()
    for name in (*FOLDERS, *ELSEWHERE_MADE, *FILES):
        path = folder / name
        is_right = is_plain_file(path) if name in FILES else is_plain_folder(path)
        if os.path.lexists(path) and not is_right:
            kind = "file" if name in FILES else "folder"
            raise OutputError(f"{path} is not a plain {kind}", remedy="move it away, or give another --store")
        if path.exists() and not may_write(path):
            raise foreign(folder, path)


def foreign(folder: Path, path: Path) -> OutputError:
    """Of a part of a store that is another user's, as an earlier run under sudo leaves it."""
    owner = "another user"
    with suppress(OSError, KeyError, NotImplementedError):
        owner = path.owner()
    return OutputError(
        f"{path} belongs to {owner} and may not be written",
        remedy=f"give it back (sudo chown -R $USER {folder}), or give another --store",
    )


def is_store(folder: Path) -> bool:
    """Whether it is marked as a store."""
    return is_plain_file(folder / MARKER)


def is_plain_file(path: Path) -> bool:
    """Neither a link nor a pipe or device, which would be read or written elsewhere, or never end."""
    return path.is_file() and not path.is_symlink()


def is_plain_folder(path: Path) -> bool:
    """A folder of its own, no link to one."""
    return path.is_dir() and not path.is_symlink()


def _is_unmarked_store(folder: Path) -> bool:
    ignore = folder / ".gitignore"
    return (
        all(is_plain_folder(folder / name) for name in FOLDERS)
        and is_plain_file(ignore)
        and ignore.read_bytes() == IGNORE.encode()
    )
