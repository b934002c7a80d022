"""Putting a bundle in place: all of it or nothing, and never over something that is none."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.bundle.manifest import MANIFEST
from edgekit.errors import OutputError

__all__ = ["replacing"]


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new empty folder to write a bundle into; it takes the place of `folder` when the block ends well.

    Raises OutputError when it cannot be written, or when something lies there that is no bundle.
    """
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        _refuse_foreign(folder)
        _clear_dead_partials(folder)
        partial.mkdir(parents=True)
        yield partial
        _put_in_place(partial, folder)
    except OSError as error:
        came = f"the bundle {folder} cannot be written: {error.strerror} ({error.filename})"
        raise OutputError(came, remedy="free some space, or give another --out") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    """A folder that is there must be empty or a bundle: nothing else is replaced."""
    if not os.path.lexists(folder):
        return
    if folder.is_dir() and not folder.is_symlink():
        if not any(folder.iterdir()):
            return
        try:
            marks = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            marks = None
        if isinstance(marks, dict) and {"schema", "edgekit", "target", "files"} <= marks.keys():
            return
    raise OutputError(
        f"{folder} is there and is not a bundle of edgekit", remedy="move it away, or give another --out"
    )


def _clear_dead_partials(folder: Path) -> None:
    """Remove what killed runs left half-written beside the bundle."""
    import psutil

    for left in folder.parent.glob(f".{folder.name}.partial-*-*"):
        owner = left.name.rsplit("-", 2)[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename; an older bundle steps aside first and comes back if the rename fails."""
    if not folder.exists():
        partial.replace(folder)
        return
    aside = partial.with_name(f"{partial.name}-old")
    folder.replace(aside)
    try:
        partial.replace(folder)
    except OSError:
        aside.replace(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
