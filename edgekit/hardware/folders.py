"""Where the descriptions lie: shipped with edgekit, in the user's config folder, in the user's project."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["DataKind", "config_dir", "data_dir", "project_dir"]

DataKind = Literal["targets", "calibration", "docker"]


def data_dir(kind: DataKind) -> Path:
    """The shipped files: `edgekit/_data/KIND` of a wheel, `KIND/` at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind


def config_dir(kind: DataKind) -> Path:
    """The user's own files for all projects, e.g. `~/.config/edgekit/targets` on Linux. It need not exist."""
    from platformdirs import user_config_path

    return user_config_path("edgekit", appauthor=False) / kind


def project_dir(kind: DataKind, project: Path | None = None) -> Path:
    """The files of one project: `KIND/` in its folder (default: the current one). It need not exist."""
    return (project or Path.cwd()) / kind
