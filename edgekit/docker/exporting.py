"""An image on its way to a board: an archive to carry there, or a registry."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from edgekit.docker.engines import Engine, export_command, push_command
from edgekit.docker.running import Tell, follow
from edgekit.errors import OutputError

__all__ = ["export_image", "push_image"]


def push_image(engine: Engine, tag: str, tell: Tell | None = None) -> None:
    """Send it to the registry in its name. Raises StageError with the engine's words."""
    follow(push_command(engine, tag), "push image", tell)


def export_image(engine: Engine, tag: str, archive: Path, tell: Tell | None = None) -> int:
    """Write the archive that `docker load -i` reads; gives its size in bytes. The file is whole or absent.

    Raises OutputError where it exists already or cannot be written, StageError with the engine's words.
    """
    if archive.exists():
        raise OutputError(f"{archive} exists", remedy="remove it, or give another name")
    if not archive.parent.is_dir() or not os.access(archive.parent, os.W_OK):
        raise OutputError(
            f"cannot write into {archive.parent}", remedy="give a folder that exists and is yours"
        )
    part = archive.with_name(f".{archive.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        follow(export_command(engine, tag, part), "export image", tell)
        part.rename(archive)
    finally:
        part.unlink(missing_ok=True)
    return archive.stat().st_size
