"""Finding targets: shipped, in the user's config folder, in the project. The nearer folder wins."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.errors import UnknownTargetError
from edgekit.hardware.folders import config_dir, data_dir, project_dir
from edgekit.hardware.loading import load_target_file
from edgekit.hardware.target import Target

__all__ = ["Registry", "TargetEntry", "TargetOrigin", "all_targets", "find_target", "load_registry"]

TargetOrigin = Literal["edgekit", "config", "project"]


@dataclass(frozen=True)
class TargetEntry:
    """One target, its file, and whose it is."""

    target: Target
    path: Path
    origin: TargetOrigin


@dataclass(frozen=True)
class Registry:
    """Every target by name. `notes` tells which files hide others of the same name."""

    entries: tuple[TargetEntry, ...]
    notes: tuple[str, ...]


def find_target(name: str, project: Path | None = None) -> Target:
    """The target of that name; reads its file alone. `project` is a folder that may hold `targets/NAME.toml`.

    Raises UnknownTargetError with the nearest names, TargetFileError when the file breaks the schema.
    """
    files, _ = _files(project)
    if name in files:
        return load_target_file(files[name][0])
    near = _near(name, sorted(files))
    raise UnknownTargetError(
        f'no target "{name}"',
        remedy=(f"did you mean {' or '.join(near)}? " if near else "") + "`edgekit targets` lists them all",
    )


def _near(name: str, names: Sequence[str]) -> list[str]:
    """Up to three targets that are likely meant: those with all parts of a short name (pi4, orin), or like letters."""
    parts = _parts(re.sub(r"\b(?:raspi|rpi)", "pi", name.lower()))
    having = [known for known in names if parts and parts <= _parts(known)]
    return having[:3] or difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)


def _parts(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+|[0-9]+", name))


def all_targets(project: Path | None = None) -> tuple[Target, ...]:
    """Every target, by name. Raises TargetFileError when one of the files breaks the schema."""
    return tuple(entry.target for entry in load_registry(project).entries)


def load_registry(project: Path | None = None) -> Registry:
    """Every target with its file. Raises TargetFileError when one of the files breaks the schema."""
    files, notes = _files(project)
    entries = (
        TargetEntry(load_target_file(path), path, origin) for _, (path, origin) in sorted(files.items())
    )
    return Registry(tuple(entries), notes)


def _files(project: Path | None) -> tuple[dict[str, tuple[Path, TargetOrigin]], tuple[str, ...]]:
    """Name → file, the nearest folder's, and a note for each file that hides another."""
    folders: dict[Path, TargetOrigin] = {data_dir("targets").resolve(): "edgekit"}
    folders.setdefault(config_dir("targets").resolve(), "config")
    folders.setdefault(project_dir("targets", project).resolve(), "project")
    files: dict[str, tuple[Path, TargetOrigin]] = {}
    notes = []
    for folder, origin in folders.items():
        for path in sorted(folder.glob("*.toml")):
            if path.stem in files:
                hidden = files[path.stem]
                whose = "edgekit's own" if hidden[1] == "edgekit" else str(hidden[0])
                notes.append(f"{path} is used for {path.stem} instead of {whose}")
            files[path.stem] = (path, origin)
    return files, tuple(notes)
