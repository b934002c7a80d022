"""The beginning of a board's description: every section that has to be there, with what belongs into it."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.errors import OutputError, UserError
from edgekit.hardware.choosing import AUTO
from edgekit.hardware.folders import project_dir
from edgekit.hardware.registry import load_registry

__all__ = ["write_skeleton"]

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")

SKELETON = Path(__file__).with_name("skeleton.txt")


def write_skeleton(name: str, architecture: str, project: Path | None = None) -> Path:
    """Write `targets/NAME.toml` into the project. Raises UserError for a name that is taken or none, OutputError."""
    if NAME.fullmatch(name) is None or name == AUTO:
        raise UserError(
            f"{name[:80]!r} is no name of a target",
            allowed="a-z, 0-9, dots and dashes, as my-board, but not auto",
        )
    for entry in load_registry(project).entries:
        if entry.target.name == name:
            raise UserError(f"there is a target {name} already: {entry.path}", remedy="give another name")
    folder = project_dir("targets", project)
    path = folder / f"{name}.toml"
    activation = "int8" if architecture == "aarch64" else "uint8"
    text = SKELETON.read_text(encoding="utf-8").format(
        name=name, architecture=architecture, activation=activation, file=path
    )
    try:
        folder.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise OutputError(f"{path} is there already", remedy="give another name, or move it away") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return path
