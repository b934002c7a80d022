"""Putting a bundle in place: all of it or nothing, and never over something that is none."""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.board.candidates import is_answer
from edgekit.board.settled import SETTLED
from edgekit.board.tuned import is_tuned
from edgekit.bundle.manifest import MANIFEST
from edgekit.errors import OutputError

__all__ = ["check_replaceable", "replacing"]

MARKER = "edgekit-partial"
"""Lies in the folder that a bundle is written in: without it nothing half-written is cleared away."""
PARTIAL = r"\.%s\.partial-([0-9]+)-[0-9a-f]{8}"
MADE_BY_RUNNING = re.compile(
    r"(candidates/[^/]+/)?(model/engine(-level-[0-5])?/(model\.engine(\.json)?|timing\.cache)"
    r"|board/(.+/)?__pycache__/[^/]+\.pyc)"
)
"""What a bundle holds once it ran, and the next one again: the engine of TensorRT, and board/ as Python compiled it."""

TUNED_PLACE = re.compile(r"(candidates/[^/]+/)?tuned\.json")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new empty folder to write a bundle into; it takes the place of `folder` when the block ends well.

    Raises OutputError when it cannot be written, or when something lies there that is no bundle.
    """
    folder = folder.absolute()
    work = folder.with_name(f".{folder.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        check_replaceable(folder)
        _clear_dead_partials(folder)
        work.mkdir(parents=True)
        (work / MARKER).touch()
        (work / "new").mkdir()
        yield work / "new"
        _put_in_place(work, folder)
    except OSError as error:
        came = f"the bundle {folder} cannot be written: {error.strerror} ({error.filename})"
        raise OutputError(came, remedy="free some space, or give another --out") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Raises OutputError for a folder that is neither absent, nor empty, nor a bundle with nothing added to it."""
    if not os.path.lexists(folder):
        return
    remedy = "move it away, or give another --out"
    listed = _listed(folder)
    if listed is None:
        raise OutputError(f"{folder} is there and is not a bundle of edgekit", remedy=remedy)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_own = name in listed or MADE_BY_RUNNING.fullmatch(name) or _is_of_settling(path, name)
        if path.is_symlink() or not (path.is_dir() or (path.is_file() and is_own)):
            raise OutputError(f"{path} is not of the bundle that it lies in", remedy=remedy)


def _is_of_settling(path: Path, name: str) -> bool:
    """Whether it is what settling wrote: it proves itself by its content, and the store has what it was made from."""
    if name == SETTLED:
        return is_answer(str(path))
    return TUNED_PLACE.fullmatch(name) is not None and is_tuned(str(path))


def _listed(folder: Path) -> set[str] | None:
    """The names of a bundle's files, none for an empty folder; None for what is no bundle."""
    if not folder.is_dir() or folder.is_symlink():
        return None
    if not any(folder.iterdir()):
        return set()
    path = folder / MANIFEST
    try:
        marks = json.loads(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
        if isinstance(marks, dict) and {"schema", "edgekit", "target", "files"} <= marks.keys():
            return {MANIFEST, *(file["path"] for file in marks["files"])}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return None


def _clear_dead_partials(folder: Path) -> None:
    """Remove what killed runs left half-written beside the bundle, where the marker says that it is that."""
    import psutil

    named = re.compile(PARTIAL % re.escape(folder.name))
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.partial-*"):
        name, marker = named.fullmatch(left.name), left / MARKER
        is_marked = left.is_dir() and not left.is_symlink() and marker.is_file() and not marker.is_symlink()
        if name is not None and is_marked and not psutil.pid_exists(int(name[1])):
            if (left / "old").is_dir() and not os.path.lexists(folder):
                (left / "old").replace(folder)  # killed between the two renames
            shutil.rmtree(left, ignore_errors=True)


def _put_in_place(work: Path, folder: Path) -> None:
    """Rename; an older bundle steps aside first and comes back if the rename fails."""
    new, old = work / "new", work / "old"
    if not folder.exists():
        new.replace(folder)
        return
    check_replaceable(folder)
    folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        old.replace(folder)
        raise
